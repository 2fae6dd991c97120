"""DynUNet as MONAI has it: its weights under its own names, its numbers, without its imports."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.fitting import covered, cropped, padded
from medseg.models.heads import Heads, halving
from medseg.models.layers import PerAxis, act, axes, conv, norm, transposed

if TYPE_CHECKING:
    from medseg.models.dynunet import DynUNet

_LEAK = 0.01


class DynUNetNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: DynUNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, widths = options.spatial_dims, options.widths
        strides, kernels = options.axis_strides, options.axis_kernels
        self.multiples = [prod(axis) for axis in zip(*strides, strict=True)]
        sides = list(zip(kernels, strides, strict=True))
        self.input_block = _Block(options, (in_channels, widths[0]), *sides[0])
        *downs, bottom = (
            _Block(options, pair, *side)
            for pair, side in zip(pairwise(widths), sides[1:], strict=True)
        )
        self.downsamples, self.bottleneck = nn.ModuleList(downs), bottom
        self.upsamples = nn.ModuleList(
            _Up(options, (widths[level + 1], widths[level]), kernels[level + 1], strides[level + 1])
            for level in reversed(range(len(widths) - 1))
        )
        self.output_block = _Named(conv(dims, widths[0], out_channels, 1))
        self.deep_supervision_heads = nn.ModuleList(
            _Named(conv(dims, width, out_channels, 1))
            for width in widths[1 : options.deep_supervision + 1]
        )
        self.apply(_drawn)

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits (B, K, *space), or heads of them."""
        levels = [self.input_block(padded(image, self.multiples))]
        for down in (*self.downsamples, self.bottleneck):
            levels.append(down(levels[-1]))
        decoded = [levels.pop()]
        for up in self.upsamples:
            decoded.append(up(decoded[-1], levels.pop()))
        logits = cropped(self.output_block(decoded[-1]), image.shape[2:])
        if not (self.training and self.deep_supervision_heads):
            return logits
        full = decoded[-1].shape[2:]
        coarse = zip(self.deep_supervision_heads, decoded[-2::-1], strict=False)
        return halving([logits, *(cropped(h(f), covered(image, full, f)) for h, f in coarse)])


def _Named(layer: nn.Module) -> nn.Module:  # noqa: N802 - it stands for a class of MONAI's
    """A layer under the name that MONAI gives it, ``conv.conv``."""
    return nn.Sequential(OrderedDict(conv=nn.Sequential(OrderedDict(conv=layer))))


class _Block(nn.Module):
    """Two convolutions, the first of them strided; with a path around them if ``residual``."""

    def __init__(
        self, options: DynUNet, channels: tuple[int, int], kernel: PerAxis, stride: PerAxis
    ) -> None:
        super().__init__()
        dims, kind, (inputs, outputs) = options.spatial_dims, options.norm, channels
        self.conv1 = _convolution(options, channels, kernel, stride)
        self.conv2 = _convolution(options, (outputs, outputs), kernel, 1)
        self.lrelu = act("leaky_relu")
        self.norm1, self.norm2 = norm(dims, outputs, kind), norm(dims, outputs, kind)
        self.residual = options.residual
        self.conv3: nn.Module = nn.Identity()
        self.norm3: nn.Module = nn.Identity()
        if self.residual and (inputs != outputs or prod(axes(dims, stride)) > 1):
            self.conv3 = _convolution(options, channels, 1, stride)
            self.norm3 = norm(dims, outputs, kind)

    def forward(self, features: Tensor) -> Tensor:
        out = self.lrelu(self.norm1(self.conv1(features)))
        out = self.norm2(self.conv2(out))
        if self.residual:
            out = out + self.norm3(self.conv3(features))
        return torch.as_tensor(self.lrelu(out))


class _Up(nn.Module):
    """Up-sampling, and a block over it and what came across; never residual, as MONAI has it."""

    def __init__(
        self, options: DynUNet, channels: tuple[int, int], kernel: PerAxis, stride: PerAxis
    ) -> None:
        super().__init__()
        below, width = channels
        up = transposed(options.spatial_dims, below, width, stride, bias=False)
        self.transp_conv = nn.Sequential(OrderedDict(conv=up))
        self.conv_block = _Block(options.plain, (2 * width, width), kernel, 1)

    def forward(self, below: Tensor, across: Tensor) -> Tensor:
        return torch.as_tensor(self.conv_block(torch.cat([self.transp_conv(below), across], 1)))


def _convolution(
    options: DynUNet, channels: tuple[int, int], kernel: PerAxis, stride: PerAxis
) -> nn.Module:
    dims, (inputs, outputs) = options.spatial_dims, channels
    kernel, stride = axes(dims, kernel), axes(dims, stride)
    padding = [max(0, (k - s + 1) // 2) for k, s in zip(kernel, stride, strict=True)]
    layer = conv(dims, inputs, outputs, kernel, stride=stride, bias=False, padding=padding)
    dropout = {"dropout": nn.Dropout(options.dropout)} if options.dropout else {}
    return nn.Sequential(OrderedDict(conv=layer, **dropout))


def _drawn(layer: nn.Module) -> None:
    """Normal weights, as MONAI draws them, and no biases (He et al. 2015)."""
    if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(layer.weight, _LEAK)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
