"""PSANet (Zhao et al. 2018, ECCV), n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from medseg.models.modules.psa import PointwiseSpatialAttention
from medseg.models.nets.fcn_resnet import auxiliary
from medseg.models.nets.on_encoder import Last, OnEncoder
from medseg.models.nets.pspnet import head_behind

if TYPE_CHECKING:
    from medseg.models.psanet import PSANet


def psanet(options: PSANet, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    encoder = options.resnet(in_channels, dilate_first=True)
    width = encoder.channels[-1]
    context = PointwiseSpatialAttention(
        options.spatial_dims,
        width,
        options.attention_channels or max(width // 4, 1),
        options.offsets,
        shrink=options.shrink,
        norm_kind=options.norm,
    )
    head = Last(context, head_behind(options, width, context.channels, out_channels))
    return OnEncoder(encoder, head, auxiliary(options, encoder.channels, out_channels))
