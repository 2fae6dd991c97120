"""ENet (Paszke et al. 2016, arXiv:1606.02147), after its authors' layer list, n-D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import max_unpool2d, max_unpool3d, pad

from medseg.models.fitting import cropped, padded
from medseg.models.layers import NormKind, conv, dropout, max_pool, norm, transposed
from medseg.models.options import Axes, multiples

if TYPE_CHECKING:
    from medseg.models.enet import ENet

_RATES: Sequence[int | None] = (1, 2, None, 4, 1, 8, None, 16)
"""The dilations of the eight bottlenecks at an eighth; None for the one split by axis."""

_UNPOOL = {2: max_unpool2d, 3: max_unpool3d}


@dataclass(frozen=True)
class Style:
    """What the bottlenecks of a stage have alike; the decoder has ReLU and no dropout."""

    dims: int
    norm: NormKind = "batch"
    prelu: bool = True
    dropout: float = 0.0

    def act(self, channels: int) -> nn.Module:
        """A slope for every channel, or none."""
        return nn.PReLU(channels) if self.prelu else nn.ReLU()

    def normed(self, layer: nn.Module, channels: int, *, act: bool = True) -> nn.Sequential:
        """``layer`` with its normalisation and activation: ``.conv``, ``.norm`` and ``.act``."""
        unit = nn.Sequential()
        unit.add_module("conv", layer)
        unit.add_module("norm", norm(self.dims, channels, self.norm, eps=1e-3))
        if act:
            unit.add_module("act", self.act(channels))
        return unit


class SplitConv(nn.Module):
    """A convolution of 5 taps along one axis after the other, the last axis first."""

    def __init__(self, dims: int, channels: int, taps: int = 5) -> None:
        super().__init__()
        kernels = [[taps if one == axis else 1 for one in range(dims)] for axis in range(dims)]
        self.thin = nn.Sequential(
            *(conv(dims, channels, channels, kernel, bias=False) for kernel in kernels[:0:-1])
        )
        self.conv = conv(dims, channels, channels, kernels[0])

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to the same shape."""
        out: Tensor = self.conv(self.thin(features))
        return out


class Bottleneck(nn.Module):
    """Fewer channels, the ``middle`` convolution, and back, beside the features themselves."""

    def __init__(self, style: Style, channels: int, rate: int | None = 1) -> None:
        super().__init__()
        inner = max(channels // 4, 1)
        middle = conv(style.dims, inner, inner, 3, dilation=rate) if rate else None
        middle = middle or SplitConv(style.dims, inner)
        reduce = conv(style.dims, channels, inner, 1, bias=False)
        self.branch = _branch(style, reduce, middle, channels)
        self.act = style.act(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to the same shape."""
        out: Tensor = self.act(features + self.branch(features))
        return out


class Down(nn.Module):
    """A bottleneck with a stride beside a pooling, which tells where it took each value."""

    def __init__(self, style: Style, inputs: int, outputs: int, stride: Axes) -> None:
        super().__init__()
        dims, inner = style.dims, max(outputs // 4, 1)
        self.more = outputs - inputs
        self.pool = max_pool(dims, stride, return_indices=True)
        reduce = conv(dims, inputs, inner, stride, stride=stride, padding=0, bias=False)
        self.branch = _branch(style, reduce, conv(dims, inner, inner, 3), outputs)
        self.act = style.act(outputs)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *space) to (B, C', *coarser), and the places (B, C, *coarser) of the largest."""
        largest, places = self.pool(features)
        largest = pad(largest, (0, 0) * (features.ndim - 2) + (0, self.more))
        return self.act(largest + self.branch(features)), places


class Up(nn.Module):
    """A transposed bottleneck beside an unpooling into the places of the pooling before."""

    def __init__(self, style: Style, inputs: int, outputs: int, stride: Axes) -> None:
        super().__init__()
        dims, inner = style.dims, max(outputs // 4, 1)
        self.stride = stride
        self.main = style.normed(conv(dims, inputs, outputs, 1, bias=False), outputs, act=False)
        reduce = conv(dims, inputs, inner, 1, bias=False)
        grow = transposed(dims, inner, inner, stride, kernel=3)
        self.branch = _branch(style, reduce, grow, outputs)
        self.act = style.act(outputs)

    def forward(self, features: Tensor, places: Tensor) -> Tensor:
        """(B, C, *coarser) to (B, C', *space) by the pooling's ``places (B, C', *coarser)``."""
        size = [side * s for side, s in zip(features.shape[2:], self.stride, strict=True)]
        unpool = _UNPOOL[len(size)]
        raised = unpool(self.main(features), places, self.stride, output_size=size)
        out: Tensor = self.act(raised + self.branch(features))
        return out


def _branch(style: Style, reduce: nn.Module, middle: nn.Module, outputs: int) -> nn.Sequential:
    inner = max(outputs // 4, 1)
    expand = conv(style.dims, inner, outputs, 1, bias=False)
    return nn.Sequential(
        style.normed(reduce, inner),
        style.normed(middle, inner),
        style.normed(expand, outputs, act=False),
        dropout(style.dims, style.dropout) if style.dropout else nn.Identity(),
    )


class Stem(nn.Module):
    """A strided convolution and a pooling of the image itself, joined."""

    def __init__(self, style: Style, in_channels: int, width: int, stride: Axes) -> None:
        super().__init__()
        drawn = max(width - in_channels, width // 2)
        self.channels = drawn + in_channels
        self.conv = conv(style.dims, in_channels, drawn, 3, stride=stride)
        self.pool = max_pool(style.dims, stride)
        self.norm = norm(style.dims, self.channels, style.norm, eps=1e-3)
        self.act = style.act(self.channels)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` to (B, channels, *coarser)."""
        both = torch.cat([self.conv(image), self.pool(image)], 1)
        out: Tensor = self.act(self.norm(both))
        return out


class ENetNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: ENet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, kind, (stem, first, second) = options.spatial_dims, options.norm, options.steps
        width, middle, wide = options.widths
        early = Style(dims, kind, dropout=options.early_dropout)
        late = Style(dims, kind, dropout=options.dropout)
        plain = Style(dims, kind, prelu=False)
        self.multiples = multiples(options.steps)
        self.stem = Stem(early, in_channels, width, stem)
        width = self.stem.channels
        middle, wide = max(width, middle), max(width, wide)
        self.down1 = Down(early, width, middle, first)
        self.stage1 = nn.Sequential(*(Bottleneck(early, middle) for _ in range(4)))
        self.down2 = Down(late, middle, wide, second)
        self.stage2 = nn.Sequential(
            *(Bottleneck(late, wide, rate) for _ in range(options.repeats) for rate in _RATES)
        )
        self.up2 = Up(plain, wide, middle, second)
        self.stage4 = nn.Sequential(Bottleneck(plain, middle), Bottleneck(plain, middle))
        self.up1 = Up(plain, middle, width, first)
        self.stage5 = Bottleneck(plain, width)
        self.head = transposed(dims, width, out_channels, stem)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        features, first = self.down1(self.stem(padded(image, self.multiples)))
        features, second = self.down2(self.stage1(features))
        features = self.stage4(self.up2(self.stage2(features), second))
        features = self.stage5(self.up1(features, first))
        return cropped(self.head(features), image.shape[2:])
