"""The U-Net that grows: two convolutions a stage, and what was added to them since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.fitting import cropped, padded
from medseg.models.layers import ConvNormAct, NormKind, conv, transposed

if TYPE_CHECKING:
    from medseg.models.neat import NEAT


class Residual(nn.Module):
    """Adds what two convolutions find; the second has no activation, so that zero is neutral."""

    def __init__(self, dims: int, width: int, kernel: Sequence[int], norm: NormKind) -> None:
        super().__init__()
        self.first = ConvNormAct(dims, width, width, kernel, norm_kind=norm, act_kind="leaky_relu")
        self.second = ConvNormAct(dims, width, width, kernel, norm_kind=norm, act_kind="none")

    def forward(self, features: Tensor) -> Tensor:
        """``features (B, C, *space)`` to as many."""
        found: Tensor = self.second(self.first(features))
        return features + found


class Stage(nn.Module):
    """Two convolutions, the first with the stride, then the residual blocks."""

    def __init__(
        self,
        dims: int,
        channels: tuple[int, int],
        kernel: Sequence[int],
        norm: NormKind,
        *,
        stride: Sequence[int] | int = 1,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        inputs, width = channels
        self.first = ConvNormAct(
            dims, inputs, width, kernel, norm_kind=norm, act_kind="leaky_relu", stride=stride
        )
        self.second = ConvNormAct(dims, width, width, kernel, norm_kind=norm, act_kind="leaky_relu")
        self.blocks = nn.ModuleList(Residual(dims, width, kernel, norm) for _ in range(blocks))

    def forward(self, features: Tensor) -> Tensor:
        """``features (B, C, *space)`` to (B, W, *space / stride)."""
        features = self.second(self.first(features))
        for block in self.blocks:
            features = block(features)
        return features


class GrowingUNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space); every level pads for itself and cuts back.

    So a level more below changes nothing for those above, whatever the size of the image.
    """

    def __init__(self, options: NEAT, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, said, norm = options.spatial_dims, options.explicit(), options.norm
        self.strides = said.strides
        levels = len(said.widths) - 1
        self.added_from = levels - said.added
        inputs = (in_channels, *said.widths)
        strides = ((1,) * dims, *said.strides)
        self.encoder = nn.ModuleList(
            Stage(dims, (inputs[n], width), said.kernels[n], norm, stride=strides[n], blocks=blocks)
            for n, (width, blocks) in enumerate(zip(said.widths, said.encoder_blocks, strict=True))
        )
        self.ups, self.decoder, self.projections = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(said.decoder_widths):
            skip = said.widths[level]
            above = level + 1 < self.added_from
            below = said.decoder_widths[level + 1] if above else said.widths[level + 1]
            self.ups.append(transposed(dims, below, width, said.strides[level], bias=False))
            blocks = said.decoder_blocks[level]
            self.decoder.append(
                Stage(dims, (width + skip, width), said.kernels[level], norm, blocks=blocks)
            )
            grown = level >= self.added_from
            self.projections.append(
                conv(dims, width, skip, 1, bias=False) if grown else nn.Identity()
            )
        self.head = conv(dims, said.decoder_widths[0], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the image's own size."""
        # Two voxels or more, as one alone has no deviation to be normalised by.
        features = self.encoder[0](padded(image, (1,) * (image.ndim - 2)))
        logits: Tensor = self.head(self._from(0, features))
        return cropped(logits, image.shape[2:])

    def _from(self, level: int, features: Tensor) -> Tensor:
        """What this level gives to the one above: its features, joined by those from below."""
        if level == len(self.decoder):
            return features
        skip = padded(features, self.strides[level])
        below = self._from(level + 1, self.encoder[level + 1](skip))
        joined = torch.cat([self.ups[level](below), skip], 1)
        found = cropped(self.projections[level](self.decoder[level](joined)), features.shape[2:])
        return features + found if level >= self.added_from else found
