"""BiSeNetV2: a shallow wide branch for detail, a deep thin one for meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Axes, Entries, check_width, scaled, strides_by_axis

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BiSeNetV2(Network):
    """Two branches on the image, one for detail and one for meaning, that gate each other.

    ``width`` scales the channels of every layer; ``expansion`` is how much wider the depthwise
    convolutions of the deep branch are than what surrounds them. ``strides`` are those of the
    five halvings of the deep branch, a number or one number an axis (2 where left out); the
    shallow branch has the first three. ``auxiliary`` supervises the deep branch on four grids
    while it trains, each with the weight 1. ``identity_start`` lets its blocks begin as their
    shortcuts, as in the reference. ``norm`` is the normalisation, ``dropout`` the share of
    numbers left out before the logits.
    """

    name: ClassVar[str] = "bisenetv2"
    paper: ClassVar[str] = "Yu et al. 2021, doi:10.1007/s11263-021-01515-2, arXiv:2004.02147"
    good_for: ClassVar[str] = "slices and volumes in real time where thin borders still matter"

    width: float = 1.0
    expansion: int = 6
    strides: Entries | None = None
    auxiliary: bool = True
    identity_start: bool = True
    norm: Literal["batch", "instance", "group"] = "batch"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_width(self.width)
        if self.expansion < 1:
            raise ValueError(f"expansion is at least 1, not {self.expansion}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        _ = self.steps

    @property
    def steps(self) -> tuple[Axes, ...]:
        """The strides of the five halvings along each axis."""
        return strides_by_axis(self.strides, self.spatial_dims, 5)

    def scaled(self, channels: int) -> int:
        """A layer's channels at this ``width``."""
        return scaled(channels, self.width, 2)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.bisenetv2 import BiSeNetV2Net

        return BiSeNetV2Net(self, in_channels, out_channels)
