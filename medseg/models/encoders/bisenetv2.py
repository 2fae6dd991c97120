"""The two branches of BiSeNetV2 (Yu et al. 2021, arXiv:2004.02147), n-D.

In all that the paper leaves open they follow the code of github.com/CoinCheung/BiSeNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from medseg.models.layers import (
    ConvNormAct,
    NormKind,
    PooledConvNormAct,
    global_mean,
    max_pool,
    pooled_norm,
)
from medseg.models.options import Axes, multiples


class Style(NamedTuple):
    """What all blocks have alike."""

    dims: int
    norm: NormKind
    expansion: int

    def block(
        self, inputs: int, outputs: int, kernel: int = 3, stride: Axes | int = 1
    ) -> nn.Module:
        """A convolution, a normalisation and a ReLU."""
        return ConvNormAct(self.dims, inputs, outputs, kernel, stride=stride, norm_kind=self.norm)

    def depthwise(self, inputs: int, times: int, stride: Axes | int = 1) -> nn.Module:
        """``times`` filters for each channel, normalised."""
        return ConvNormAct(
            self.dims,
            inputs,
            inputs * times,
            3,
            stride=stride,
            groups=inputs,
            norm_kind=self.norm,
            act_kind="none",
        )

    def pointwise(self, inputs: int, outputs: int) -> nn.Module:
        """The channels mixed, normalised."""
        return ConvNormAct(self.dims, inputs, outputs, 1, norm_kind=self.norm, act_kind="none")


class DetailBranch(nn.Module):
    """Three features by plain convolutions, fine to coarse: 2, 3 and 3 of them."""

    def __init__(
        self, style: Style, inputs: int, widths: Sequence[int], steps: Sequence[Axes]
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.strides = tuple(multiples(steps[: place + 1]) for place in range(len(steps)))
        self.stages = nn.ModuleList()
        for width, stride, more in zip(widths, steps, (1, 2, 2), strict=True):
            first = style.block(inputs, width, 3, stride)
            self.stages.append(
                nn.Sequential(first, *(style.block(width, width) for _ in range(more)))
            )
            inputs = width

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to features (B, channels, *space / strides)."""
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


class SemanticStem(nn.Module):
    """Two halvings, the second by a convolution and by a pooling side by side."""

    def __init__(self, style: Style, inputs: int, width: int, steps: Sequence[Axes]) -> None:
        super().__init__()
        self.conv = style.block(inputs, width, 3, steps[0])
        self.left = nn.Sequential(
            style.block(width, width // 2, 1), style.block(width // 2, width, 3, steps[1])
        )
        self.right = max_pool(style.dims, 3, steps[1], padding=1)
        self.fuse = style.block(2 * width, width)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` to (B, width, *coarser)."""
        features = self.conv(image)
        out: Tensor = self.fuse(torch.cat([self.left(features), self.right(features)], 1))
        return out


class GatherExpansion(nn.Module):
    """A convolution, a wide depthwise one and a narrow one beside a shortcut.

    With a ``stride`` there are two depthwise ones, and the shortcut is separable.
    """

    def __init__(self, style: Style, inputs: int, outputs: int, stride: Axes | None = None) -> None:
        super().__init__()
        wide = inputs * style.expansion
        self.first = style.block(inputs, inputs)
        self.widen = style.depthwise(inputs, style.expansion, stride or 1)
        self.spread: nn.Module = nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride is not None:
            self.spread = style.depthwise(wide, 1)
            self.shortcut = nn.Sequential(
                style.depthwise(inputs, 1, stride), style.pointwise(inputs, outputs)
            )
        self.narrow = style.pointwise(wide, outputs)

    def silence(self) -> None:
        """Let what the branch adds begin at zero."""
        last = cast(nn.Module, self.narrow.norm)
        nn.init.zeros_(cast(Tensor, last.weight))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, C', *coarser)."""
        branch = self.spread(self.widen(self.first(features))).relu()
        out: Tensor = (self.narrow(branch) + self.shortcut(features)).relu()
        return out


class ContextEmbedding(nn.Module):
    """What the whole image looks like, added everywhere."""

    def __init__(self, style: Style, channels: int) -> None:
        super().__init__()
        self.before_conv = pooled_norm(channels, style.norm)
        self.context = PooledConvNormAct(style.dims, channels, channels, style.norm)
        self.last = style.block(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to the same shape."""
        out: Tensor = self.last(self.context(self.before_conv(global_mean(features))) + features)
        return out


class SemanticBranch(nn.Module):
    """The features of its four grids, fine to coarse, and the last again with its context."""

    def __init__(
        self, style: Style, inputs: int, widths: Sequence[int], steps: Sequence[Axes]
    ) -> None:
        super().__init__()
        self.channels = (*widths, widths[-1])
        grids = [multiples(steps[:count]) for count in (2, 3, 4, 5)]
        self.strides = (*grids, grids[-1])
        self.stem = SemanticStem(style, inputs, widths[0], steps[:2])
        self.stages = nn.ModuleList()
        for stage, more in enumerate((1, 1, 3)):
            before, width = widths[stage], widths[stage + 1]
            first = GatherExpansion(style, before, width, steps[stage + 2])
            others = (GatherExpansion(style, width, width) for _ in range(more))
            self.stages.append(nn.Sequential(first, *others))
        self.context = ContextEmbedding(style, widths[-1])

    def silence(self) -> None:
        """Let every block begin as its shortcut."""
        for block in self.stages.modules():
            if isinstance(block, GatherExpansion):
                block.silence()

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to features (B, channels, *space / strides)."""
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return [*features, self.context(features[-1])]
