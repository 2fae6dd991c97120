"""DeepLab v3 (Chen et al. 2017, arXiv:1706.05587), n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from medseg.models.layers import ConvNormAct, conv
from medseg.models.modules.aspp import ASPP, Atrous
from medseg.models.nets.fcn_resnet import auxiliary
from medseg.models.nets.on_encoder import Last, OnEncoder

if TYPE_CHECKING:
    from medseg.models.deeplab_v3 import DeepLabV3


def deeplab_v3(options: DeepLabV3, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    dims = options.spatial_dims
    encoder = options.resnet(in_channels, multi_grid=options.multi_grid)
    width = options.head_channels or options.wide(256)
    pyramid = Atrous(
        rates=options.pyramid,
        image_pooling=options.image_pooling,
        separable=options.separable,
        norm=options.norm,
        dropout=options.dropout,
        clamp=options.clamp,
    )
    head = nn.Sequential(ASPP(dims, encoder.channels[-1], width, pyramid))
    if options.head_conv:
        head.append(ConvNormAct(dims, width, width, norm_kind=options.norm))
    head.append(conv(dims, width, out_channels, 1))
    return OnEncoder(encoder, Last(head), auxiliary(options, encoder.channels, out_channels), 0.5)
