"""DeepLab v2: dilated convolutions of several rates, each of which tells the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.options import Entries, check_rates
from medseg.models.residual import Depth, OnResNet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DeepLabV2(OnResNet):
    """A dilated encoder and convolutions of several rates straight to the labels, summed.

    ``encoder`` is ``resnet`` or ``vgg``, whose branches have two hidden layers of
    ``hidden_channels`` each (left out: 1024 in 2D, 128 in 3D). ``rates`` are how far apart the
    taps of the branches are, each a number or one number an axis (left out: 6, 12, 18, 24 in 2D;
    1, 2, 3, 4 in 3D); with ``clamp`` a rate is never larger than the features along that axis
    allow. ``scales`` are sizes of the image at which all is computed, the largest logit of them
    taken (left out: 1, 0.75 and 0.5 in 2D, 1 alone in 3D); while training each is supervised too.

    ``depth`` is the ResNet's and ``base`` the encoder's first channels, which all others follow
    (left out: 101 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a
    number or one number an axis; a ResNet's stages beyond ``output_stride`` keep their grid and
    are dilated instead, and VGG's (left out: 2, 2, 2, 1, 1) are taken as they are. ``deep_stem``
    begins a ResNet with three small convolutions, the first two of ``stem_base`` channels.
    ``norm`` is the normalisation; the paper's VGG has none. ``dropout`` is the share of channels
    left out in VGG's branches.
    """

    name: ClassVar[str] = "deeplab_v2"
    paper: ClassVar[str] = "Chen et al. 2017, arXiv:1606.00915"
    good_for: ClassVar[str] = "a baseline of 2016 to compare with, best before a dense CRF"

    encoder: Literal["resnet", "vgg"] = "resnet"
    rates: Entries | None = None
    clamp: bool = True
    scales: tuple[float, ...] | None = None
    hidden_channels: int | None = None
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self.pyramid, self.spatial_dims)
        if not self.sizes or min(self.sizes) <= 0:
            raise ValueError(f"scales is one or more numbers above 0, not {self.sizes}")
        if self.hidden_channels is not None and self.hidden_channels < 1:
            raise ValueError(f"hidden_channels is at least 1, not {self.hidden_channels}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")

    @property
    def pyramid(self) -> Entries:
        """The rates, or those of these dimensions."""
        return self.rates or ((6, 12, 18, 24) if self.spatial_dims == 2 else (1, 2, 3, 4))

    @property
    def sizes(self) -> tuple[float, ...]:
        """The scales, or those of these dimensions."""
        if self.scales is not None:
            return self.scales
        return (1.0, 0.75, 0.5) if self.spatial_dims == 2 else (1.0,)

    @property
    def default_depth(self) -> Depth:
        """The paper's in 2D."""
        return 101 if self.spatial_dims == 2 else 18

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.deeplab_v2 import DeepLabV2Net

        return DeepLabV2Net(self, in_channels, out_channels)
