"""STDC: a fast encoder that is taught where edges are instead of having a branch for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Axes, Entries, check_width, scaled, strides_by_axis

if TYPE_CHECKING:
    from torch import nn

BLOCKS: dict[str, tuple[int, int, int]] = {"stdc1": (2, 2, 2), "stdc2": (4, 5, 3)}


@dataclass(frozen=True)
class STDC(Network):
    """A fast encoder of short dense blocks, guided by the edges of the labels while it trains.

    ``size`` is how many blocks the stages have: (2, 2, 2) for stdc1, (4, 5, 3) for stdc2.
    ``width`` scales the channels of the encoder and of the heads; ``context`` are those of the
    path that carries the coarse features back. ``strides`` are those of the five halvings, a
    number or one number an axis (2 where left out). ``auxiliary`` supervises that path on its
    two grids and ``detail`` has the encoder's third feature find edges, both while it trains
    and with the weight 1. ``norm`` is the normalisation.
    """

    name: ClassVar[str] = "stdc"
    paper: ClassVar[str] = "Fan et al. 2021, arXiv:2104.13188"
    good_for: ClassVar[str] = "slices and volumes in real time, at little cost for sharp borders"

    size: Literal["stdc1", "stdc2"] = "stdc1"
    width: float = 1.0
    context: int = 128
    strides: Entries | None = None
    auxiliary: bool = True
    detail: bool = True
    norm: Literal["batch", "instance", "group"] = "batch"

    def __post_init__(self) -> None:
        if self.size not in BLOCKS:
            raise ValueError(f"size is one of {', '.join(BLOCKS)}, not {self.size}")
        check_width(self.width)
        if self.context < 1:
            raise ValueError(f"context is at least 1, not {self.context}")
        _ = self.steps

    @property
    def steps(self) -> tuple[Axes, ...]:
        """The strides of the five halvings along each axis."""
        return strides_by_axis(self.strides, self.spatial_dims, 5)

    @property
    def blocks(self) -> tuple[int, int, int]:
        """The blocks of the last three stages."""
        return BLOCKS[self.size]

    @property
    def base(self) -> int:
        """The channels after the second halving, of which all others are multiples."""
        return scaled(64, self.width, 2)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.stdc import STDCNet

        return STDCNet(self, in_channels, out_channels)
