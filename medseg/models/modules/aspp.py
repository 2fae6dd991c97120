"""Atrous spatial pyramid pooling, n-D: dilated convolutions side by side on one map.

ASPP v2, Chen et al. 2017, arXiv:1606.00915; v3, Chen et al. 2017, arXiv:1706.05587; separable, Chen
et al. 2018, arXiv:1802.02611.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d

from medseg.models.layers import (
    ConvNormAct,
    NormKind,
    PerAxis,
    PooledConvNormAct,
    Summed,
    act,
    axes,
    global_mean,
    norm,
    resized,
)


def clamped_rate(rate: Sequence[int], space: Sequence[int]) -> tuple[int, ...]:
    """The rate along each axis, or the largest whose outer taps still reach the features."""
    return tuple(min(r, max((side - 1) // 2, 1)) for r, side in zip(rate, space, strict=True))


class _Dilated(nn.Module):
    """What the two classes of dilated convolutions have alike."""

    weight: Tensor
    bias: Tensor | None
    groups: int
    dilation: tuple[int, ...]
    clamp: bool = True

    def _rate(self, features: Tensor) -> tuple[int, ...]:
        return clamped_rate(self.dilation, features.shape[2:]) if self.clamp else self.dilation


class _Dilated2d(_Dilated, nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        rate = self._rate(input)
        return conv2d(input, self.weight, self.bias, 1, rate, rate, self.groups)


class _Dilated3d(_Dilated, nn.Conv3d):
    def forward(self, input: Tensor) -> Tensor:
        rate = self._rate(input)
        return conv3d(input, self.weight, self.bias, 1, rate, rate, self.groups)


def dilated(  # noqa: PLR0913
    dims: int,
    inputs: int,
    outputs: int,
    rate: PerAxis,
    *,
    groups: int = 1,
    bias: bool = False,
    clamp: bool = True,
) -> nn.Module:
    """A convolution of three taps an axis, ``rate`` voxels apart.

    With ``clamp`` the rate along an axis is at most what the features are long enough for: taps
    that only ever meet the padding learn nothing.
    """
    kinds: dict[int, Any] = {2: _Dilated2d, 3: _Dilated3d}
    layer: _Dilated = kinds[dims](
        inputs, outputs, 3, dilation=axes(dims, rate), groups=groups, bias=bias
    )
    layer.clamp = clamp
    return layer


class SummedASPP(nn.Module):
    """ASPP v2: each rate's convolution straight to the labels, all of them summed."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        labels: int,
        rates: Sequence[PerAxis] = (6, 12, 18, 24),
        *,
        clamp: bool = True,
    ) -> None:
        super().__init__()
        self.branches = Summed(
            dilated(dims, inputs, labels, rate, bias=True, clamp=clamp) for rate in rates
        )
        for branch in self.branches:
            nn.init.normal_(cast(Tensor, branch.weight), std=0.01)
            nn.init.zeros_(cast(Tensor, branch.bias))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to logits (B, K, *space)."""
        logits: Tensor = self.branches(features)
        return logits


class Separable(nn.Sequential):
    """One filter for each channel, then the channels mixed; ``between``: normalised in between."""

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        inputs: int,
        outputs: int,
        rate: PerAxis = 1,
        *,
        norm_kind: NormKind = "batch",
        between: bool = True,
        clamp: bool = True,
    ) -> None:
        super().__init__()
        self.add_module(
            "depthwise", dilated(dims, inputs, inputs, rate, groups=inputs, clamp=clamp)
        )
        if between:
            self.add_module("between", nn.Sequential(norm(dims, inputs, norm_kind), act()))
        self.add_module("pointwise", ConvNormAct(dims, inputs, outputs, 1, norm_kind=norm_kind))


class Atrous(NamedTuple):
    """What an ASPP v3 is made of.

    ``rates`` are those of its dilated branches, each a number or one number an axis;
    ``image_pooling`` adds the mean of the whole map; ``separable`` splits each dilated
    convolution into one for each channel and one across, ``between`` with a normalisation and a
    ReLU between the two. ``project_kernel`` is that of the convolution which joins the branches.
    """

    rates: Sequence[PerAxis] = (6, 12, 18)
    image_pooling: bool = True
    separable: bool = False
    between: bool = True
    project_kernel: int = 1
    norm: NormKind = "batch"
    dropout: float = 0.0
    clamp: bool = True


class ASPP(nn.Module):
    """ASPP v3: branches of ``channels`` channels, joined by a convolution to as many."""

    def __init__(self, dims: int, inputs: int, channels: int, options: Atrous) -> None:
        super().__init__()
        kind = options.norm
        self.branches = nn.ModuleList([ConvNormAct(dims, inputs, channels, 1, norm_kind=kind)])
        self.branches.extend(
            _branch(dims, inputs, channels, rate, options) for rate in options.rates
        )
        self.pooling: nn.Module | None = None
        if options.image_pooling:
            self.pooling = PooledConvNormAct(dims, inputs, channels, kind)
        count = len(self.branches) + options.image_pooling
        self.project = ConvNormAct(
            dims, count * channels, channels, options.project_kernel, norm_kind=kind
        )
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, channels, *space)."""
        said = [branch(features) for branch in self.branches]
        if self.pooling is not None:
            said.append(resized(self.pooling(global_mean(features)), features.shape[2:]))
        out: Tensor = self.dropout(self.project(torch.cat(said, 1)))
        return out


def _branch(dims: int, inputs: int, channels: int, rate: PerAxis, options: Atrous) -> nn.Module:
    kind, clamp = options.norm, options.clamp
    if options.separable:
        between = options.between
        return Separable(dims, inputs, channels, rate, norm_kind=kind, between=between, clamp=clamp)
    parts = nn.Sequential()
    parts.add_module("conv", dilated(dims, inputs, channels, rate, clamp=clamp))
    parts.add_module("norm", norm(dims, channels, kind))
    parts.add_module("act", act())
    return parts
