"""UCTransNet: a U-Net whose skips go through a transformer between channels, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from medseg.models.network import Network
from medseg.models.options import Axes, multiples

if TYPE_CHECKING:
    from torch import nn

PerLevel = tuple[int | Axes, ...]

_WIDTHS = {2: (64, 128, 256, 512, 512), 3: (32, 64, 128, 256, 256)}
_SIDES = {2: 224, 3: 96}


class Parts(NamedTuple):
    """A UCTransNet with every default filled in; strides, patches and grid by axis."""

    widths: tuple[int, ...]
    strides: tuple[Axes, ...]
    patches: tuple[Axes, ...]
    grid: Axes
    norm: Literal["batch", "instance", "group"]


@dataclass(frozen=True)
class UCTransNet(Network):
    """A U-Net whose skips see each other's channels, and are weighed by what comes from below.

    ``widths`` has one entry a level; left out it is 64 to 512 in 2D and 32 to 256 in 3D.
    ``strides`` has one entry between two levels, each a number or one number an axis. ``patch``
    is how many voxels an axis of the lowest skip make a token; finer skips have larger patches,
    so that all have the same tokens; left out it is 2, or 1 along an axis of ``image_size`` that
    would be left with a single token. ``image_size`` is the size that the position tables are
    learnt for, 224 in 2D and 96 in 3D where left out; other sizes are interpolated.
    ``attention_layers``, ``attention_heads`` and ``expansion`` (of the MLP) are the
    transformer's, ``dropout`` its share left out while training. ``norm`` left out is ``batch``
    in 2D and ``instance`` in 3D.
    """

    name: ClassVar[str] = "uctransnet"
    paper: ClassVar[str] = "Wang et al. 2022, arXiv:2109.04335"
    good_for: ClassVar[str] = "glands, cells and organs in 2D images; its 3D form is this project's"

    widths: tuple[int, ...] | None = None
    strides: PerLevel | None = None
    patch: int | Axes | None = None
    image_size: int | Axes | None = None
    attention_layers: int = 4
    attention_heads: int = 4
    expansion: int = 4
    dropout: float = 0.1
    norm: Literal["batch", "instance", "group"] | None = None

    def __post_init__(self) -> None:
        widths = self._widths
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths needs two levels or more of at least 1, not {widths}")
        if self.strides is not None and len(self.strides) != len(widths) - 1:
            raise ValueError(
                f"strides has one entry between two levels: {len(widths) - 1},"
                f" not {len(self.strides)}"
            )
        for stride in self.strides or ():
            self._by_axis("strides", stride)
        if self.patch is not None:
            self._by_axis("patch", self.patch)
        if self.image_size is not None:
            self._by_axis("image_size", self.image_size)
        for name in ("attention_layers", "attention_heads", "expansion"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")

    def _by_axis(self, name: str, entry: int | Axes) -> Axes:
        one = (entry,) * self.spatial_dims if isinstance(entry, int) else tuple(entry)
        if len(one) != self.spatial_dims or min(one) < 1:
            raise ValueError(
                f"{name} wants a number above 0 or {self.spatial_dims} of them, not {entry}"
            )
        return one

    @property
    def _widths(self) -> tuple[int, ...]:
        return _WIDTHS[self.spatial_dims] if self.widths is None else self.widths

    @property
    def parts(self) -> Parts:
        """The defaults of these dimensions, but for what is given."""
        levels, dims = len(self._widths), self.spatial_dims
        strides = tuple(self._by_axis("strides", s) for s in self.strides or (2,) * (levels - 1))
        ones = (1,) * dims
        reached = [multiples((ones, *strides[:level])) for level in range(levels - 1)]
        size = self._by_axis("image_size", self.image_size or _SIDES[dims])
        patch = self._patch(size, reached[-1])
        token = multiples((patch, reached[-1]))
        return Parts(
            widths=self._widths,
            strides=strides,
            patches=tuple(_over(token, stride) for stride in reached),
            grid=tuple(-(-side // one) for side, one in zip(size, token, strict=True)),
            norm=self.norm or ("batch" if dims == 2 else "instance"),
        )

    def _patch(self, size: Axes, stride: Axes) -> Axes:
        if self.patch is not None:
            return self._by_axis("patch", self.patch)
        return tuple(2 if side > 2 * one else 1 for side, one in zip(size, stride, strict=True))

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; weights are drawn as the paper's code draws them."""
        from medseg.models.nets.uctransnet import UCTransNetNet

        return UCTransNetNet(self, in_channels, out_channels)


def _over(one: Sequence[int], other: Sequence[int]) -> Axes:
    return tuple(a // b for a, b in zip(one, other, strict=True))
