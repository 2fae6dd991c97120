"""The encoder of the U-Nets (Ronneberger et al. 2015; Isensee et al. 2021), n-D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from medseg.models.layers import (
    ActKind,
    NormKind,
    PerAxis,
    act,
    conv,
    dropout,
    max_pool,
    mean_pool,
    norm,
)
from medseg.models.options import Axes, multiples

Down = Literal["pool", "stride", "residual"]


@dataclass(frozen=True)
class ConvStyle:
    """What goes with a convolution; ``bordered`` with zeros it keeps its size."""

    norm: NormKind = "batch"
    act: ActKind = "relu"
    bias: bool = False
    dropout: float = 0.0
    bordered: bool = True


@dataclass(frozen=True)
class UNetForm:
    """One entry a level; the first of ``strides`` is of the image itself, as a rule all ones.

    ``pool`` halves by the largest of each block, ``stride`` by the first convolution of a level,
    ``residual`` by its first residual block, with a stem before the first level. ``blocks``
    counts convolutions, or residual blocks. ``early_doubling`` widens in the last convolution of
    a level, from the half, as the 3D U-Net does (Çiçek et al. 2016).
    """

    widths: Sequence[int]
    strides: Sequence[Axes]
    kernels: Sequence[Axes]
    blocks: Sequence[int]
    style: ConvStyle = ConvStyle()
    down: Down = "pool"
    early_doubling: bool = False


class StyledConv(nn.Sequential):
    """Convolution, dropout of channels, normalisation, activation."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        kernel: PerAxis,
        style: ConvStyle,
        *,
        stride: PerAxis = 1,
    ) -> None:
        super().__init__()
        padding = None if style.bordered else 0
        made = conv(dims, inputs, outputs, kernel, stride=stride, padding=padding, bias=style.bias)
        self.add_module("conv", made)
        self.add_module("dropout", dropout(dims, style.dropout))
        self.add_module("norm", norm(dims, outputs, style.norm))
        self.add_module("act", act(style.act))


def convolutions(
    dims: int, channels: Sequence[int], kernel: Axes, style: ConvStyle, stride: PerAxis = 1
) -> nn.Sequential:
    """Convolutions from each of ``channels`` to the next; the first of them has the stride."""
    strides = (stride, *(1,) * len(channels))
    return nn.Sequential(
        *(
            StyledConv(dims, inputs, outputs, kernel, style, stride=strides[place])
            for place, (inputs, outputs) in enumerate(pairwise(channels))
        )
    )


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip, which is averaged and projected where it has to be."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, kernel: Axes, style: ConvStyle, stride: Axes
    ) -> None:
        super().__init__()
        last = ConvStyle(style.norm, "none", style.bias)
        self.conv1 = StyledConv(dims, inputs, outputs, kernel, style, stride=stride)
        self.conv2 = StyledConv(dims, outputs, outputs, kernel, last)
        self.pool = mean_pool(dims, stride) if max(stride) > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if inputs != outputs:
            self.project = StyledConv(dims, inputs, outputs, 1, ConvStyle(style.norm, "none"))
        self.act = act(style.act)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, C', *coarser)."""
        skip = self.project(self.pool(features))
        out: Tensor = self.act(self.conv2(self.conv1(features)) + skip)
        return out


class UNetEncoder(nn.Module):
    """An image to features of every level, fine to coarse.

    ``channels`` and ``strides`` are those of the levels; ``strides`` against the image.
    """

    def __init__(self, dims: int, in_channels: int, form: UNetForm) -> None:
        super().__init__()
        self.channels = tuple(form.widths)
        steps = form.strides
        self.strides = tuple(multiples(steps[: level + 1]) for level in range(len(steps)))
        self.stem: nn.Module = nn.Identity()
        inputs = in_channels
        if form.down == "residual":
            inputs = form.widths[0]
            self.stem = StyledConv(dims, in_channels, inputs, form.kernels[0], form.style)
        self.pools, self.stages = nn.ModuleList(), nn.ModuleList()
        for level, (width, stride) in enumerate(zip(form.widths, form.strides, strict=True)):
            pooled = form.down == "pool" and max(stride) > 1
            self.pools.append(max_pool(dims, stride) if pooled else nn.Identity())
            self.stages.append(_stage(dims, inputs, form, level))
            inputs = width

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to (B, channels, *space / strides)."""
        features, levels = self.stem(image), []
        for pool, stage in zip(self.pools, self.stages, strict=True):
            features = stage(pool(features))
            levels.append(features)
        return levels


def _stage(dims: int, inputs: int, form: UNetForm, level: int) -> nn.Sequential:
    width, kernel, blocks = form.widths[level], form.kernels[level], form.blocks[level]
    stays = (1,) * dims
    stride = stays if form.down == "pool" else form.strides[level]
    if form.down == "residual":
        first = ResidualBlock(dims, inputs, width, kernel, form.style, stride)
        rest = (
            ResidualBlock(dims, width, width, kernel, form.style, stays) for _ in range(blocks - 1)
        )
        return nn.Sequential(first, *rest)
    middle = width // 2 if form.early_doubling else width
    channels = [inputs, *(middle,) * (blocks - 1), width]
    return convolutions(dims, channels, kernel, form.style, stride)
