"""DeepLab v3: a dilated ResNet and atrous spatial pyramid pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medseg.models.residual import WithRates

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DeepLabV3(WithRates):
    """A dilated ResNet, then convolutions of several rates and the mean of all, side by side.

    ``rates`` are how far apart the taps of the pyramid's convolutions are, each a number or one
    number an axis (left out: 6, 12, 18 at an ``output_stride`` of 16 and twice that at 8 in 2D;
    2, 4, 6 in 3D). With ``clamp`` a rate is never larger than the features along that axis allow.
    ``image_pooling`` adds the mean of the whole window, ``separable`` splits the pyramid's
    convolutions. ``multi_grid`` multiplies the rates of the last stage's three blocks; the paper
    has 1, 2, 4. ``head_conv`` puts one more convolution before the logits, as torchvision does.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    50 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation. ``head_channels`` are the pyramid's (left out: 256 in
    2D at ``base`` 64), ``dropout`` the share of numbers left out behind it; ``auxiliary``
    supervises the last stage but one with the weight 0.5 while training.
    """

    name: ClassVar[str] = "deeplab_v3"
    paper: ClassVar[str] = "Chen et al. 2017, arXiv:1706.05587"
    good_for: ClassVar[str] = "organs and tumours of very different sizes whose borders may be soft"

    dropout: float = 0.5
    image_pooling: bool = True
    head_conv: bool = True

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.deeplab_v3 import deeplab_v3

        return deeplab_v3(self, in_channels, out_channels)
