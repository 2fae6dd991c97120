"""The U-Net in its forms (Ronneberger et al. 2015; Çiçek et al. 2016; Isensee et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.encoders.unet import ConvStyle, Down, UNetEncoder, UNetForm, convolutions
from medseg.models.fitting import covered, cropped, padded
from medseg.models.heads import Heads, halving
from medseg.models.layers import conv, transposed
from medseg.models.modules.borders import Loss, bordered
from medseg.models.modules.up_stage import UpStage

if TYPE_CHECKING:
    from medseg.models.unet import Parts, UNet

_DOWN: dict[str, Down] = {
    "classic": "pool",
    "padded": "pool",
    "plain": "stride",
    "residual": "residual",
}
_LEAKS = {"classic": 0.0, "plain": 0.01, "residual": 0.01}


class UNetNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: UNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, parts, style = options.spatial_dims, options.parts, _style(options)
        self.losses = _losses(parts, dims) if options.form == "classic" else None
        self.encoder = UNetEncoder(dims, in_channels, _form(options, style))
        self.dropout = nn.Dropout(0.0 if style.dropout else options.dropout)
        self.ups = nn.ModuleList()
        below = parts.widths[-1]
        for level in reversed(range(len(parts.strides))):
            self.ups.append(_up_stage(options, style, below, level))
            below = parts.decoder_widths[level]
        self.head = conv(dims, below, out_channels, 1)
        heads = parts.decoder_widths[1 : options.deep_supervision + 1]
        self.coarse_heads = nn.ModuleList(conv(dims, width, out_channels, 1) for width in heads)
        if options.form in _LEAKS:
            _draw(self, _LEAKS[options.form])

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits (B, K, *space), or heads of them."""
        full = self._bordered(image)
        *skips, features = self.encoder(full)
        features, decoded = self.dropout(features), []
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            features = up(features, skip)
            decoded.append(features)
        logits = cropped(self.head(features), image.shape[2:])
        if not (self.training and self.coarse_heads):
            return logits
        coarse = zip(self.coarse_heads, decoded[-2::-1], strict=False)
        space = full.shape[2:]
        return halving([logits, *(cropped(h(f), covered(image, space, f)) for h, f in coarse)])

    def _bordered(self, image: Tensor) -> Tensor:
        if self.losses is not None:
            return bordered(image, self.losses)
        return padded(image, self.encoder.strides[-1])


def _style(options: UNet) -> ConvStyle:
    ours = options.form in ("plain", "residual")
    parts = options.parts
    return ConvStyle(
        norm=parts.norm,
        act="leaky_relu" if ours else "relu",
        bias=parts.conv_bias,
        dropout=options.dropout if ours else 0.0,
        bordered=options.form != "classic",
    )


def _form(options: UNet, style: ConvStyle) -> UNetForm:
    parts = options.parts
    return UNetForm(
        widths=parts.widths,
        strides=((1,) * options.spatial_dims, *parts.strides),
        kernels=parts.kernels,
        blocks=parts.blocks,
        style=style,
        down=_DOWN[options.form],
        early_doubling=parts.early_doubling,
    )


def _up_stage(options: UNet, style: ConvStyle, below: int, level: int) -> UpStage:
    """Transposed convolutions come out as wide as the skip; the 3D U-Net's stay as wide."""
    dims, parts = options.spatial_dims, options.parts
    stride, skip, width = parts.strides[level], parts.widths[level], parts.decoder_widths[level]
    up: nn.Module
    if options.upsampling == "bilinear":
        mode = "bilinear" if dims == 2 else "trilinear"
        up, raised, middle = nn.Upsample(None, stride, mode, True), below, skip
    else:
        raised, middle = below if parts.early_doubling else skip, width
        bias = parts.conv_bias or options.form == "padded"
        up = transposed(dims, below, raised, stride, bias=bias)
    channels = [skip + raised, *(middle,) * (parts.decoder_blocks[level] - 1), width]
    return UpStage(up, convolutions(dims, channels, parts.kernels[level], style))


def _losses(parts: Parts, dims: int) -> list[Loss]:
    return [
        Loss(
            strides=[stride[axis] for stride in parts.strides],
            inward=_lost(parts, parts.blocks, axis),
            outward=_lost(parts, parts.decoder_blocks, axis),
        )
        for axis in range(dims)
    ]


def _lost(parts: Parts, blocks: tuple[int, ...], axis: int) -> list[int]:
    return [n * (kernel[axis] - 1) for n, kernel in zip(blocks, parts.kernels, strict=False)]


@torch.no_grad()
def _draw(module: nn.Module, leak: float) -> None:
    """Normal weights of the deviation √(2/n), n the inputs of one output; no biases (He 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, leak)
        elif isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(layer.weight, std=(2 / (1 + leak**2) / layer.in_channels) ** 0.5)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
