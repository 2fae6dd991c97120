"""DenseASPP (Yang et al. 2018, CVPR), n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from medseg.models.encoders.densenet import DenseForm, DenseNet
from medseg.models.layers import conv, dropout
from medseg.models.modules.dense_aspp import DenseASPPModule
from medseg.models.nets.on_encoder import Last, OnEncoder
from medseg.models.options import strides_by_axis

if TYPE_CHECKING:
    from medseg.models.dense_aspp import DenseASPP


def dense_aspp(options: DenseASPP, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    dims = options.spatial_dims
    first, growth, middle, each = options.widths
    encoder = DenseNet(
        dims,
        in_channels,
        DenseForm(first, growth, options.layers, options.norm),
        output_stride=options.output_stride,
        stage_strides=strides_by_axis(options.strides, dims, 5),
    )
    context = DenseASPPModule(
        dims,
        encoder.channels[-1],
        middle,
        each,
        options.pyramid,
        share=options.dropout,
        norm_kind=options.norm,
        clamp=options.clamp,
    )
    parts = [context, dropout(dims, options.dropout), conv(dims, context.channels, out_channels, 1)]
    if options.output_stride > 8:
        mode = "bilinear" if dims == 2 else "trilinear"
        parts.insert(0, nn.Upsample(scale_factor=2, mode=mode, align_corners=True))
    head = Last(*parts)
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_uniform_(layer.weight)
    return OnEncoder(encoder, head)
