"""SETR with its three heads; in 3D a plain ViT of cubes under the same heads."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

Axes = tuple[int, ...]

SIZES: dict[str, tuple[int, int, int]] = {
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
"""Size to width, depth and heads."""
_SIDES = {2: 224, 3: 96}


@dataclass(frozen=True)
class SETR(Network):
    """A plain Vision Transformer on patches, and one of three heads back to the image.

    ``size`` is the transformer: ``large`` is the paper's and wants pictures by the thousands;
    ``width``, ``depth`` and ``attention_heads`` replace its parts. ``head`` is ``naive`` (one
    1x1 convolution and one interpolation), ``pup`` (a convolution between every two doublings)
    or ``mla`` (four layers' tokens joined). ``patch`` is a patch's side, and ``image_size``
    that of the images which the position table is made for, as a number or one number an axis;
    left out it is 224 in 2D and 96 in 3D, and for other sizes the table is interpolated.
    ``head_width`` is the channels of the head. ``auxiliary`` supervises earlier layers too, each
    with the weight 0.4, by heads of ``auxiliary_convs`` convolutions (left out: 2 for ``pup``,
    1 for ``naive``; ``mla`` has none). ``class_token`` adds the token that images are classified
    by. ``norm`` is the normalisation in the heads; ``dropout`` and ``drop_path`` are shares of
    tokens' numbers and of branches that are left out.
    """

    name: ClassVar[str] = "setr"
    paper: ClassVar[str] = "Zheng et al. 2021, arXiv:2012.15840"
    good_for: ClassVar[str] = "large structures, and comparison; needs much data or learned weights"

    size: Literal["small", "base", "large"] = "base"
    head: Literal["naive", "pup", "mla"] = "pup"
    width: int | None = None
    depth: int | None = None
    attention_heads: int | None = None
    patch: int | tuple[int, ...] = 16
    image_size: int | tuple[int, ...] | None = None
    head_width: int = 256
    auxiliary: bool = True
    auxiliary_convs: int | None = None
    class_token: bool = True
    norm: Literal["batch", "instance", "group"] = "batch"
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "depth", "attention_heads", "head_width", "auxiliary_convs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        width, _, heads = self.trunk
        if width % heads:
            raise ValueError(
                f"attention_heads share the width evenly; {width} is no multiple of {heads}"
            )
        for name, sides in (("patch", self.patches), ("image_size", self._sides)):
            if len(sides) != self.spatial_dims or min(sides) < 1:
                raise ValueError(
                    f"{name} is a number above 0 or {self.spatial_dims} of them, not {sides}"
                )
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), not {getattr(self, name)}")

    def _axes(self, value: int | Axes) -> Axes:
        return (value,) * self.spatial_dims if isinstance(value, int) else value

    @property
    def _sides(self) -> Axes:
        return self._axes(_SIDES[self.spatial_dims] if self.image_size is None else self.image_size)

    @property
    def trunk(self) -> tuple[int, int, int]:
        """Width, depth and heads of the transformer."""
        width, depth, heads = SIZES[self.size]
        return self.width or width, self.depth or depth, self.attention_heads or heads

    @property
    def patches(self) -> Axes:
        """A patch's side along each axis."""
        return self._axes(self.patch)

    @property
    def grid(self) -> Axes:
        """The grid that positions are learned on."""
        return tuple(-(-side // p) for side, p in zip(self._sides, self.patches, strict=True))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers read, from 1: the paper's 6, 12, 18, 24 or 10, 15, 20, 24 of 24."""
        depth = self.trunk[1]
        if self.head == "mla":
            shares: tuple[int, ...] = (6, 12, 18, 24)
        else:
            shares = (10, 15, 20, 24) if self.auxiliary else (24,)
        return tuple(max(depth * share // 24, 1) for share in shares)

    @property
    def factors(self) -> tuple[Axes, ...]:
        """How much finer than the patches the head is after each of its convolutions."""
        return self._steps(_doublings(max(self.patches)) if self.head == "pup" else 1)

    @property
    def helping_factors(self) -> tuple[Axes, ...]:
        """The same of an auxiliary head."""
        return self._steps(self.auxiliary_convs or (2 if self.head == "pup" else 1))

    def _steps(self, count: int) -> tuple[Axes, ...]:
        each = 2 ** ceil(_doublings(max(self.patches)) / count)
        return tuple(
            tuple(min(side, each**place) for side in self.patches) for place in range(1, count + 1)
        )

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights, the transformer's truncated normal."""
        from medseg.models.nets.setr import SETRNet

        return SETRNet(self, in_channels, out_channels)


def _doublings(side: int) -> int:
    return max(ceil(log2(side)), 1)
