"""PSPNet: a dilated ResNet and its features' means over coarser and coarser grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medseg.models.options import Entries, check_rates
from medseg.models.residual import WithHeads

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PSPNet(WithHeads):
    """A dilated ResNet, whose features are seen beside their means over parts of the window.

    ``bins`` are how many parts the window has along each axis in each of the grids, a number or
    one number an axis, and never more than the features have voxels.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    50 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation. ``head_channels`` are those of the head (left out: a
    quarter of the features'), ``dropout`` the share of channels left out before the logits;
    ``auxiliary`` supervises the last stage but one with the weight 0.4 while training.
    """

    name: ClassVar[str] = "pspnet"
    paper: ClassVar[str] = "Zhao et al. 2017, arXiv:1612.01105"
    good_for: ClassVar[str] = "labels that only the whole window tells apart, as left from right"

    deep_stem: bool = True
    bins: Entries = (1, 2, 3, 6)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self.bins, self.spatial_dims, "bins")

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.pspnet import pspnet

        return pspnet(self, in_channels, out_channels)
