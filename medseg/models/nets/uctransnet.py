"""UCTransNet: CCT between the skips of a U-Net, CCA before each is used (Wang et al. 2022)."""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.encoders.unet import ConvStyle, UNetEncoder, UNetForm, convolutions
from medseg.models.fitting import cropped, padded
from medseg.models.layers import conv
from medseg.models.modules.cca import ChannelCrossAttention
from medseg.models.modules.cct import CCT, CCTForm
from medseg.models.modules.up_stage import UpStage

if TYPE_CHECKING:
    from medseg.models.uctransnet import UCTransNet


class UCTransNetNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: UCTransNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, parts = options.spatial_dims, options.parts
        style = ConvStyle(norm=parts.norm, bias=True)
        levels, flat = len(parts.widths), (1,) * dims
        form = UNetForm(
            widths=parts.widths,
            strides=(flat, *parts.strides),
            kernels=((3,) * dims,) * levels,
            blocks=(1, *(2,) * (levels - 1)),
            style=style,
        )
        self.encoder = UNetEncoder(dims, in_channels, form)
        self.multiples = [
            lcm(*sides) for sides in zip(self.encoder.strides[-1], parts.patches[0], strict=True)
        ]
        self.fusion = CCT(dims, _fusion(options))
        self.ups = nn.ModuleList()
        below = parts.widths[-1]
        for level in reversed(range(levels - 1)):
            width = parts.widths[max(level - 1, 0)]
            skip, up = parts.widths[level], nn.Upsample(None, parts.strides[level])
            convs = convolutions(dims, [skip + below, width, width], (3,) * dims, style)
            self.ups.append(UpStage(up, convs, ChannelCrossAttention(dims, skip, below)))
            below = width
        self.head = conv(dims, below, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        *skips, features = self.encoder(padded(image, self.multiples))
        for up, skip in zip(self.ups, reversed(self.fusion(skips)), strict=True):
            features = up(features, skip)
        return cropped(self.head(features), image.shape[2:])


def _fusion(options: UCTransNet) -> CCTForm:
    parts = options.parts
    return CCTForm(
        channels=parts.widths[:-1],
        patches=parts.patches,
        grid=parts.grid,
        layers=options.attention_layers,
        heads=options.attention_heads,
        expansion=options.expansion,
        dropout=options.dropout,
        norm=parts.norm,
    )
