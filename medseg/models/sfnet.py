"""SFNet: a pyramid of features whose coarser levels are warped onto the finer ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.options import Entries, check_rates
from medseg.models.residual import WithHeads

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SFNet(WithHeads):
    """A ResNet's features from coarse to fine, each warped onto the next by a learnt flow.

    The coarsest features are first seen beside their means over parts of the window: ``bins`` are
    how many parts it has along each axis in each of the grids, a number or one number an axis,
    and never more than the features have voxels. ``lite`` is SFNet-Lite: one single warping from
    the coarsest to the finest features, mixed with these by a gate.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    50 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation. ``head_channels`` are those of every level (left out:
    128 up to depth 34 and 256 from 50, scaled as ``base`` is), ``dropout`` the share of channels
    left out; ``auxiliary`` supervises every warped level with the weight 1 while training.
    """

    name: ClassVar[str] = "sfnet"
    paper: ClassVar[str] = "Li et al. 2020, arXiv:2002.10120"
    good_for: ClassVar[str] = "labels of many sizes at once, where coarse features blur borders"

    output_stride: Literal[8, 16, 32] = 32
    deep_stem: bool = True
    bins: Entries = (1, 2, 3, 6)
    lite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self.bins, self.spatial_dims, "bins")

    @property
    def width(self) -> int:
        """The channels of every level."""
        deep = (self.depth or self.default_depth) >= 50
        return self.head_channels or self.wide(256 if deep else 128)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.sfnet import SFNetNet

        return SFNetNet(self, in_channels, out_channels)
