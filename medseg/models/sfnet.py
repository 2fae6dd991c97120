"""SFNet: a feature pyramid whose levels are warped onto each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.options import Entries, check_rates
from medseg.models.residual import OnResNet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SFNet(OnResNet):
    """A feature pyramid, whose coarse levels are moved to where the finer ones say they belong.

    ``head_channels`` are those of all levels (left out: 128 up to a depth of 34 and 256 beyond, at
    a ``base`` of 64), ``bins`` the grids of the means that the coarsest level is seen beside, and
    never more than it has voxels. ``gated`` also moves the finer level and mixes the two,
    as SFNet-Lite does. ``auxiliary`` supervises each level while training, with the weight 1;
    ``dropout`` is the share of numbers left out there and behind the coarsest level.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    18 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation.
    """

    name: ClassVar[str] = "sfnet"
    paper: ClassVar[str] = "Li et al. 2020, arXiv:2002.10120"
    good_for: ClassVar[str] = "sharp borders in real time"

    output_stride: Literal[8, 16, 32] = 32
    deep_stem: bool = True
    head_channels: int | None = None
    bins: Entries = (1, 2, 3, 6)
    gated: bool = False
    auxiliary: bool = False
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self.bins, self.spatial_dims, "bins")
        if self.head_channels is not None and self.head_channels < 2:
            raise ValueError(f"head_channels is at least 2, not {self.head_channels}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")

    @property
    def default_depth(self) -> Literal[18]:
        """The paper's in real time."""
        return 18

    @property
    def width(self) -> int:
        """The channels of all levels."""
        paper = 128 if (self.depth or self.default_depth) < 50 else 256
        return self.head_channels or max(self.wide(paper), 2)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.sfnet import SFNetNet

        return SFNetNet(self, in_channels, out_channels)
