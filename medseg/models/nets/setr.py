"""SETR: a Vision Transformer and one of three ways back to the image (Zheng et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.encoders.vit import ViT, ViTForm
from medseg.models.fitting import cropped, padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import ChannelNorm, ConvNormAct, NormKind, conv, resized

if TYPE_CHECKING:
    from medseg.models.setr import SETR


class UpHead(nn.Module):
    """Convolutions, each followed by an up-sampling to a multiple of the tokens' grid.

    ``factors`` has one entry a convolution, one number an axis. The logits are made before the
    last of them, which the caller does: a 1x1 convolution and an interpolation commute.
    """

    def __init__(
        self,
        options: SETR,
        inputs: int,
        out_channels: int,
        kernel: int,
        factors: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        dims, width = options.spatial_dims, options.head_width
        self.factors = tuple(tuple(f) for f in factors)
        self.norm = ChannelNorm(inputs, eps=1e-6)
        self.convs = nn.ModuleList(
            ConvNormAct(dims, width if place else inputs, width, kernel, norm_kind=options.norm)
            for place in range(len(factors))
        )
        self.classifier = conv(dims, width, out_channels, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, C, *grid)`` to logits (B, K, *finer)."""
        features, grid = self.norm(tokens), tokens.shape[2:]
        for place, block in enumerate(self.convs):
            if place:
                features = resized(features, _finer(grid, self.factors[place - 1]))
            features = block(features)
        logits: Tensor = self.classifier(features)
        return logits


class Stream(nn.Sequential):
    """One of MLA's streams: two convolutions to half the width."""

    def __init__(self, dims: int, width: int, norm_kind: NormKind) -> None:
        half = max(width // 2, 1)
        super().__init__(
            ConvNormAct(dims, width, half, norm_kind=norm_kind),
            ConvNormAct(dims, half, half, norm_kind=norm_kind),
        )


class MlaHead(nn.Module):
    """Multi-level aggregation: the layers' tokens summed from the deepest on, then joined."""

    def __init__(self, options: SETR, inputs: Sequence[int], out_channels: int) -> None:
        super().__init__()
        dims, width, kind = options.spatial_dims, options.head_width, options.norm
        self.factor = tuple(min(side, 4) for side in options.patches)
        self.norms = nn.ModuleList(ChannelNorm(channels, eps=1e-6) for channels in inputs)
        self.lateral = nn.ModuleList(
            ConvNormAct(dims, channels, width, 1, norm_kind=kind) for channels in inputs
        )
        self.smooth = nn.ModuleList(ConvNormAct(dims, width, width, norm_kind=kind) for _ in inputs)
        self.streams = nn.ModuleList(Stream(dims, width, kind) for _ in inputs)
        self.classifier = conv(dims, len(inputs) * max(width // 2, 1), out_channels, 1)
        self.auxiliary = nn.ModuleList(
            conv(dims, width, out_channels, 1) for _ in inputs if options.auxiliary
        )

    def forward(self, layers: Sequence[Tensor]) -> list[Tensor]:
        """Tokens (B, C, *grid) a layer to logits; while training the auxiliary ones follow."""
        levels = [
            lateral(norm(tokens))
            for norm, lateral, tokens in zip(self.norms, self.lateral, layers, strict=True)
        ]
        for place in reversed(range(len(levels) - 1)):
            levels[place] = levels[place] + levels[place + 1]
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        finer = _finer(layers[0].shape[2:], self.factor)
        streams = [
            resized(stream(level), finer, align_corners=True)
            for stream, level in zip(self.streams, levels, strict=True)
        ]
        said = [self.classifier(torch.cat(streams, dim=1))]
        if self.training:
            said += [head(level) for head, level in zip(self.auxiliary, levels, strict=False)]
        return said


class LastHead(nn.Module):
    """Naive or PUP: the last layer's tokens up to the image, earlier layers while training."""

    def __init__(self, options: SETR, inputs: Sequence[int], out_channels: int) -> None:
        super().__init__()
        kernel = 3 if options.head == "pup" else 1
        helping = options.helping_factors
        self.main = UpHead(options, inputs[-1], out_channels, kernel, options.factors)
        self.auxiliary = nn.ModuleList(
            UpHead(options, channels, out_channels, kernel, helping) for channels in inputs[:-1]
        )

    def forward(self, layers: Sequence[Tensor]) -> list[Tensor]:
        """Tokens (B, C, *grid) a layer to logits; while training the auxiliary ones follow."""
        said = [self.main(layers[-1])]
        if self.training:
            said += [head(t) for head, t in zip(self.auxiliary, layers[:-1], strict=True)]
        return said


class SETRNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space); while it trains, heads."""

    def __init__(self, options: SETR, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width, depth, heads = options.trunk
        form = ViTForm(
            width=width,
            depth=depth,
            heads=heads,
            patch=options.patches,
            grid=options.grid,
            layers=options.layers,
            class_token=options.class_token,
            dropout=options.dropout,
            drop_path=options.drop_path,
        )
        self.patches = options.patches
        self.encoder = ViT(options.spatial_dims, in_channels, form)
        kind = MlaHead if options.head == "mla" else LastHead
        self.head = kind(options, self.encoder.channels, out_channels)

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.patches)
        said = self.head(self.encoder(full))
        fitted = [cropped(resized(one, full.shape[2:]), image.shape[2:]) for one in said]
        if len(fitted) == 1:
            return fitted[0]
        return [Head(fitted[0]), *(Head(one, 0.4) for one in fitted[1:])]


def _finer(grid: Sequence[int], factor: Sequence[int]) -> list[int]:
    return [side * f for side, f in zip(grid, factor, strict=True)]
