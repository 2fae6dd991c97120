"""GCN: large kernels made of thin ones, and scores refined at their borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.residual import Depth, OnResNet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GCN(OnResNet):
    """A ResNet whose every stage is scored by a large kernel, summed from coarse to fine.

    ``kernel`` is the side of the large kernels, an odd number; the paper's last network has 15,
    and the code that its figures are repeated with 7.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    152 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or
    one number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation.
    """

    name: ClassVar[str] = "gcn"
    paper: ClassVar[str] = "Peng et al. 2017, arXiv:1703.02719"
    good_for: ClassVar[str] = "large organs in one piece, with a light decoder"

    output_stride: Literal[8, 16, 32] = 32
    kernel: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel is an odd number, not {self.kernel}")

    @property
    def default_depth(self) -> Depth:
        """The paper's in 2D."""
        return 152 if self.spatial_dims == 2 else 18

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.gcn import GCNNet

        return GCNNet(self, in_channels, out_channels)
