"""DeepLab v3+ (Chen et al. 2018, arXiv:1802.02611), n-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, conv, resized
from medseg.models.modules.aspp import ASPP, Atrous, Separable
from medseg.models.nets.fcn_resnet import auxiliary
from medseg.models.nets.on_encoder import OnEncoder

if TYPE_CHECKING:
    from medseg.models.deeplab_v3plus import DeepLabV3Plus

# Of the five features of a ResNet, that of the first stage behind the stem.
_LOW = 1


class Decoder(nn.Module):
    """The pyramid on the coarsest features, and what is fine of the first stage's."""

    def __init__(self, options: DeepLabV3Plus, channels: Sequence[int], labels: int) -> None:
        super().__init__()
        dims, kind = options.spatial_dims, options.norm
        width = options.head_channels or options.wide(256)
        pyramid = Atrous(
            rates=options.pyramid,
            separable=options.separable,
            between=options.between,
            project_kernel=options.project_kernel,
            norm=kind,
            dropout=options.dropout,
            clamp=options.clamp,
        )
        self.context = nn.Sequential(ASPP(dims, channels[-1], width, pyramid))
        if options.context_conv:
            self.context.append(_conv(options, width, width))
        self.low = ConvNormAct(dims, channels[_LOW], options.low_channels, 1, norm_kind=kind)
        inputs = width + options.low_channels
        self.convs = nn.Sequential(
            *(_conv(options, width if n else inputs, width) for n in range(options.decoder_convs))
        )
        self.classifier = conv(dims, width, labels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, fine to coarse, to logits (B, K, *space) on the grid of the fine ones."""
        low = self.low(features[_LOW])
        context = resized(self.context(features[-1]), low.shape[2:], align_corners=True)
        logits: Tensor = self.classifier(self.convs(torch.cat([context, low], 1)))
        return logits


def _conv(options: DeepLabV3Plus, inputs: int, outputs: int) -> nn.Module:
    dims, kind = options.spatial_dims, options.norm
    if options.separable:
        return Separable(dims, inputs, outputs, norm_kind=kind, between=options.between)
    return ConvNormAct(dims, inputs, outputs, norm_kind=kind)


def deeplab_v3plus(options: DeepLabV3Plus, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    encoder = options.resnet(in_channels, multi_grid=options.multi_grid)
    head = Decoder(options, encoder.channels, out_channels)
    return OnEncoder(encoder, head, auxiliary(options, encoder.channels, out_channels))
