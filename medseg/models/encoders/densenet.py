"""Densely connected networks (Huang et al. 2017, arXiv:1608.06993) as encoders, n-D, dilated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from medseg.models.encoders.resnet import dilated_instead
from medseg.models.layers import (
    ConvNormAct,
    NormKind,
    PerAxis,
    axes,
    conv,
    max_pool,
    mean_pool,
    norm,
)
from medseg.models.options import multiples

_BOTTLENECK = 4


class DenseForm(NamedTuple):
    """What a DenseNet is made of: 121's first channels, growth and layers a block."""

    first: int = 64
    growth: int = 32
    blocks: Sequence[int] = (6, 12, 24, 16)
    norm: NormKind = "batch"
    dropout: float = 0.0


class NormActConv(nn.Sequential):
    """A normalisation, a ReLU, and a convolution behind them."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        norm_kind: NormKind = "batch",
        dilation: PerAxis = 1,
    ) -> None:
        super().__init__()
        self.add_module("norm", norm(dims, inputs, norm_kind))
        self.add_module("act", nn.ReLU(inplace=True))
        made = conv(dims, inputs, outputs, kernel, dilation=dilation, bias=False)
        self.add_module("conv", made)


class DenseBlock(nn.Module):
    """Layers each of which sees all before it and adds ``growth`` channels."""

    def __init__(
        self, dims: int, inputs: int, layers: int, form: DenseForm, dilation: PerAxis
    ) -> None:
        super().__init__()
        middle = _BOTTLENECK * form.growth
        self.layers = nn.ModuleList(
            nn.Sequential(
                NormActConv(dims, inputs + n * form.growth, middle, 1, norm_kind=form.norm),
                NormActConv(dims, middle, form.growth, 3, norm_kind=form.norm, dilation=dilation),
                nn.Dropout(form.dropout),
            )
            for n in range(layers)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, C + layers x growth, *space)."""
        seen = [features]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, 1)))
        return torch.cat(seen, 1)


class DenseNet(nn.Module):
    """Five features of (B, C, *space): the stem's, those of three blocks, and the last block's.

    Behind each block half of the channels are left by a 1x1 convolution; the grid is coarsened
    behind the first two, with ``output_stride`` 16, or behind the first alone, with 8, and all
    blocks that follow are dilated instead. ``stage_strides`` are those of the stem, of the
    pooling behind it and of the three between the blocks.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        form: DenseForm,
        *,
        output_stride: Literal[8, 16, 32] = 8,
        stage_strides: Sequence[PerAxis] = (2, 2, 2, 2, 2),
    ) -> None:
        super().__init__()
        steps = [axes(dims, step) for step in stage_strides]
        rates = dilated_instead(steps, output_stride)
        kind = form.norm
        self.stem = ConvNormAct(dims, in_channels, form.first, 7, stride=steps[0], norm_kind=kind)
        self.pool = max_pool(dims, 3, steps[1], padding=1) if max(steps[1]) > 1 else nn.Identity()
        self.blocks, self.halvings, self.pools = (nn.ModuleList() for _ in range(3))
        channels = [form.first]
        for stage, layers in enumerate(form.blocks):
            self.blocks.append(DenseBlock(dims, channels[-1], layers, form, rates[stage]))
            wide = channels[-1] + layers * form.growth
            self.halvings.append(NormActConv(dims, wide, wide // 2, 1, norm_kind=kind))
            channels.append(wide // 2)
            step = steps[stage + 2] if stage + 2 < len(steps) else (1,) * dims
            self.pools.append(mean_pool(dims, step) if max(step) > 1 else nn.Identity())
        self.last = norm(dims, channels[-1], kind)
        self.channels = tuple(channels)
        self.strides = tuple(multiples(steps[: place + 1]) for place in range(5))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_uniform_(layer.weight)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to features (B, channels, *space / strides), fine to coarse."""
        features = self.stem(image)
        levels = [features]
        features = self.pool(features)
        for block, halve, pool in zip(self.blocks, self.halvings, self.pools, strict=True):
            features = halve(block(features))
            levels.append(features)
            features = pool(features)
        levels[-1] = self.last(levels[-1])
        return levels
