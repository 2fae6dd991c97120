"""The fully convolutional network on a dilated ResNet that torchvision has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medseg.models.residual import WithHeads

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FCNResNet(WithHeads):
    """A dilated ResNet and two convolutions: the plainest of the networks on a ResNet.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    50 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation. ``head_channels`` are those of the head (left out: a
    quarter of the features'), ``dropout`` the share of numbers left out before the logits;
    ``auxiliary`` supervises the last stage but one with the weight 0.5 while training.
    """

    name: ClassVar[str] = "fcn_resnet"
    paper: ClassVar[str] = "Long et al. 2015, arXiv:1411.4038; He et al. 2015, arXiv:1512.03385"
    good_for: ClassVar[str] = "a baseline for all that is put on a ResNet; torchvision's weights"

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.fcn_resnet import fcn_resnet

        return fcn_resnet(self, in_channels, out_channels)
