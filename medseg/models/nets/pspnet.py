"""PSPNet (Zhao et al. 2017, arXiv:1612.01105), n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from medseg.models.layers import ConvNormAct, conv, dropout
from medseg.models.modules.ppm import PyramidPooling
from medseg.models.nets.fcn_resnet import auxiliary
from medseg.models.nets.on_encoder import Last, OnEncoder

if TYPE_CHECKING:
    from medseg.models.pspnet import PSPNet
    from medseg.models.residual import WithHeads


def pspnet(options: PSPNet, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    encoder = options.resnet(in_channels, dilate_first=True)
    context = PyramidPooling(
        options.spatial_dims, encoder.channels[-1], bins=options.bins, norm_kind=options.norm
    )
    head = Last(context, head_behind(options, encoder.channels[-1], context.channels, out_channels))
    return OnEncoder(encoder, head, auxiliary(options, encoder.channels, out_channels))


def head_behind(options: WithHeads, features: int, context: int, labels: int) -> nn.Module:
    """The head of PSPNet and PSANet on ``context`` channels made of ``features``."""
    dims = options.spatial_dims
    width = options.head_channels or max(features // 4, 1)
    return nn.Sequential(
        ConvNormAct(dims, context, width, norm_kind=options.norm),
        dropout(dims, options.dropout),
        conv(dims, width, labels, 1),
    )
