"""SegFormer by its paper's sizes, in 2D and, as SegFormer3D, in 3D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

PerStage = tuple[int | tuple[int, ...], ...]
Size: TypeAlias = Literal["b0", "b1", "b2", "b3", "b4", "b5"]

_NARROW, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES: dict[Size, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "b0": (_NARROW, (2, 2, 2, 2), 256),
    "b1": (_WIDE, (2, 2, 2, 2), 256),
    "b2": (_WIDE, (3, 4, 6, 3), 768),
    "b3": (_WIDE, (3, 4, 18, 3), 768),
    "b4": (_WIDE, (3, 8, 27, 3), 768),
    "b5": (_WIDE, (3, 6, 40, 3), 768),
}
"""Size to widths, depths and the width of the head."""
HEADS = (1, 2, 5, 8)
REDUCTIONS: dict[int, PerStage] = {2: (8, 4, 2, 1), 3: (4, 2, 1, 1)}


class Parts(NamedTuple):
    """A SegFormer with every default filled in."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    reductions: PerStage
    expansions: tuple[int, ...]
    head_width: int
    normed: bool


@dataclass(frozen=True)
class SegFormer(Network):
    """A transformer without position table on four grids, and a head of linear layers.

    ``size`` is the paper's, ``b0`` the smallest; ``widths``, ``depths`` and ``heads`` replace
    its parts, one entry a stage. ``strides`` says how much coarser each stage is than the one
    before, as a number or one number an axis: 1 keeps an axis of thick slices as it is.
    ``reductions`` says how much coarser keys and values are than queries; left out it is
    8, 4, 2, 1 in 2D and 4, 2, 1, 1 in 3D. ``expansions`` says how many times as wide a stage's
    MLPs are within; left out it is 4. ``head_width`` left out is 256, and 768 for ``b2`` and
    above in 2D. ``normed`` adds SegFormer3D's normalisations, one in each block's MLP and one
    a stage in the head; left out they are there in 3D only. ``norm`` is the kind in the head
    (and in the blocks where ``normed``). ``drop_path`` is the share of branches left out in the
    last block, growing from none in the first; ``dropout`` that of channels before the logits.
    """

    name: ClassVar[str] = "segformer"
    paper: ClassVar[str] = (
        "Xie et al. 2021, arXiv:2105.15203; in 3D Perera et al. 2024, arXiv:2404.10156"
    )
    good_for: ClassVar[str] = "slices and volumes with wide context at a small memory; no fine rims"

    size: Size = "b0"
    widths: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    strides: PerStage = (4, 2, 2, 2)
    reductions: PerStage | None = None
    expansions: tuple[int, ...] | None = None
    head_width: int | None = None
    norm: Literal["batch", "instance", "group"] = "batch"
    normed: bool | None = None
    drop_path: float = 0.1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        parts, stages = self.parts, len(self.parts.widths)
        for name in ("widths", "depths", "heads", "expansions"):
            entries = getattr(parts, name)
            if len(entries) != stages or not entries or min(entries) < 1:
                raise ValueError(
                    f"{name} has one entry above 0 a stage, {stages} as widths, not {entries}"
                )
        for name, entries in (("strides", self.strides), ("reductions", parts.reductions)):
            self._by_axis(name, entries, stages)
        for width, heads in zip(parts.widths, parts.heads, strict=True):
            if width % heads:
                raise ValueError(f"heads share a width evenly; {width} is no multiple of {heads}")
        if parts.head_width < 1:
            raise ValueError(f"head_width is at least 1, not {parts.head_width}")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), not {getattr(self, name)}")

    def _by_axis(self, name: str, entries: PerStage, stages: int) -> None:
        if len(entries) != stages:
            raise ValueError(f"{name} has one entry a stage, {stages}, not {len(entries)}")
        for entry in entries:
            one = (entry,) * self.spatial_dims if isinstance(entry, int) else entry
            if len(one) != self.spatial_dims or min(one) < 1:
                raise ValueError(
                    f"{name} are a number above 0 or {self.spatial_dims} of them, not {entry}"
                )

    @property
    def parts(self) -> Parts:
        """The size's own parts, but for those that are given."""
        widths, depths, head_width = SIZES[self.size]
        widths, volume = self.widths or widths, self.spatial_dims == 3
        return Parts(
            widths=widths,
            depths=self.depths or depths,
            heads=self.heads or HEADS,
            reductions=self.reductions or REDUCTIONS[self.spatial_dims],
            expansions=self.expansions or (4,) * len(widths),
            head_width=self.head_width or (256 if volume else head_width),
            normed=volume if self.normed is None else self.normed,
        )

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; the encoder's weights are drawn as the paper's code draws them."""
        from medseg.models.nets.segformer import SegFormerNet

        return SegFormerNet(self, in_channels, out_channels)
