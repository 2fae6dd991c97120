"""The first fully convolutional network: VGG-16 with its classifier slid over the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Axes, Entries, strides_by_axis

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FCN(Network):
    """VGG-16 whose last layers are convolutions, raised to the image by fixed interpolation.

    ``stride`` is that of the finest features that are scored: 32 (the coarsest alone), 16 or 8.
    ``base`` are the first stage's channels, ``hidden_channels`` those of the two last layers and
    ``kernel`` the size of the first of them (left out: 64, 4096 and 7 as in the paper in 2D; 32,
    512 and 3 in 3D). ``strides`` are those of the five poolings, a number or one number an axis;
    with others than 2 the three scored grids are those behind the third, fourth and fifth.
    ``norm`` none is the paper's; from fresh weights ``batch`` learns sooner. ``dropout`` is the
    share of channels left out behind each of the last layers. ``at_once`` scales the finer
    features down as the authors do to train all of it in one go.

    ``faithful`` (2D) is the authors' geometry: a border of 100 voxels and fixed transposed
    convolutions, cut to the image; else features keep their size and are resized.
    """

    name: ClassVar[str] = "fcn"
    paper: ClassVar[str] = "Long et al. 2015, arXiv:1411.4038; Shelhamer et al. 2017"
    good_for: ClassVar[str] = "a baseline of 2015 to compare with; coarse borders"

    stride: Literal[8, 16, 32] = 8
    base: int | None = None
    hidden_channels: int | None = None
    kernel: int | None = None
    strides: Entries | None = None
    norm: Literal["none", "batch", "instance", "group"] = "none"
    dropout: float = 0.5
    at_once: bool = False
    faithful: bool = False

    def __post_init__(self) -> None:
        for name in ("base", "hidden_channels", "kernel"):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise ValueError(f"{name} is at least 1, not {found}")
        if self.kernel is not None and self.kernel % 2 == 0:
            raise ValueError(f"kernel is odd, not {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        steps = self.steps
        if self.faithful and (self.spatial_dims == 3 or steps != ((2, 2),) * 5):
            raise ValueError("faithful is for 2D and the paper's strides; leave strides out")

    @property
    def steps(self) -> tuple[Axes, ...]:
        """The strides of the five poolings along each axis."""
        return strides_by_axis(self.strides, self.spatial_dims, 5)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.fcn import FCNNet

        return FCNNet(self, in_channels, out_channels)
