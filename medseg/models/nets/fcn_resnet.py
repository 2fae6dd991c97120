"""A dilated ResNet with a plain head (Long et al. 2015, He et al. 2015), as torchvision has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from medseg.models.modules.fcn_head import FCNHead
from medseg.models.nets.on_encoder import Last, OnEncoder

if TYPE_CHECKING:
    from medseg.models.fcn_resnet import FCNResNet
    from medseg.models.residual import WithHeads


def fcn_resnet(options: FCNResNet, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    encoder = options.resnet(in_channels)
    width = encoder.channels[-1]
    head = FCNHead(
        options.spatial_dims,
        width,
        options.head_channels or max(width // 4, 1),
        out_channels,
        norm_kind=options.norm,
        dropout=options.dropout,
    )
    return OnEncoder(encoder, Last(head), auxiliary(options, encoder.channels, out_channels), 0.5)


def auxiliary(options: WithHeads, channels: tuple[int, ...], labels: int) -> nn.Module | None:
    """A plain head on the last stage but one, a quarter as wide; None where it is not asked for."""
    if not options.auxiliary:
        return None
    width = channels[-2]
    return Last(
        FCNHead(
            options.spatial_dims,
            width,
            max(width // 4, 1),
            labels,
            norm_kind=options.norm,
        ),
        place=-2,
    )
