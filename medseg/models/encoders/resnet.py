"""Residual networks (He et al. 2015, arXiv:1512.03385) as encoders, n-D, dilated where asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, NormKind, PerAxis, axes, conv, max_pool, norm
from medseg.models.options import Axes, multiples

Depth = Literal[18, 34, 50, 101, 152]

_BLOCKS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_EXPANSION = 4


class Style(NamedTuple):
    """What all blocks of a network have alike."""

    dims: int
    norm: NormKind = "batch"
    bottleneck: bool = True
    stride_first: bool = False


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 to four times the width, beside a skip.

    The stride is in the 3x3 of a bottleneck, or with ``stride_first`` in its first 1x1, as in
    the networks of the paper's authors.
    """

    def __init__(
        self, style: Style, inputs: int, width: int, stride: Axes, dilation: PerAxis = 1
    ) -> None:
        super().__init__()
        dims, kind = style.dims, style.norm
        plain = (1,) * dims
        early, late = (stride, plain) if style.stride_first else (plain, stride)
        outputs = width * _EXPANSION if style.bottleneck else width
        if style.bottleneck:
            self.convs = nn.Sequential(
                ConvNormAct(dims, inputs, width, 1, stride=early, norm_kind=kind),
                ConvNormAct(dims, width, width, 3, stride=late, dilation=dilation, norm_kind=kind),
                conv(dims, width, outputs, 1, bias=False),
            )
        else:
            self.convs = nn.Sequential(
                ConvNormAct(
                    dims, inputs, width, 3, stride=stride, dilation=dilation, norm_kind=kind
                ),
                conv(dims, width, outputs, 3, dilation=dilation, bias=False),
            )
        self.norm = norm(dims, outputs, kind)
        self.project: nn.Module = nn.Identity()
        if inputs != outputs or max(stride) > 1:
            self.project = ConvNormAct(
                dims, inputs, outputs, 1, stride=stride, norm_kind=kind, act_kind="none"
            )
        self.act = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, C', *coarser)."""
        out: Tensor = self.act(self.norm(self.convs(features)) + self.project(features))
        return out


def dilated_instead(steps: list[Axes], output_stride: Literal[8, 16, 32]) -> list[Axes]:
    """The rates of four stages, whose last ones keep their grid where ``output_stride`` asks.

    ``steps`` are the strides of the stem, the pooling and the last three stages; those that are
    not made become 1, and an axis that would have been coarsened is dilated from there on.
    """
    ones = (1,) * len(steps[0])
    rates = [ones] * 4
    for stage in {32: (), 16: (3,), 8: (2, 3)}[output_stride]:
        rates[stage] = multiples((rates[stage - 1], steps[stage + 1]))
        steps[stage + 1] = ones
    return rates


class ResNet(nn.Module):
    """Five features of (B, C, *space): the stem's at half the size, then those of four stages.

    ``output_stride`` 16 or 8 keeps the last or the last two stages from coarsening and dilates
    them instead, in the first block by the rate of the stage before (``dilate_first``: by the
    stage's own). ``multi_grid`` multiplies the rates of the last stage's first blocks; unless it
    is all ones that stage's first block has the stage's own rate too.
    ``deep_stem`` is three 3x3 convolutions in place of one 7x7, the first two of ``stem_base``
    channels (``base`` where left out) and the third of twice as many. ``stage_strides`` are those
    of the stem, the pooling behind it and the last three stages.
    """

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        in_channels: int,
        depth: Depth = 50,
        *,
        base: int = 64,
        norm: NormKind = "batch",
        deep_stem: bool = False,
        stem_base: int | None = None,
        output_stride: Literal[8, 16, 32] = 32,
        multi_grid: Sequence[int] = (1, 1, 1),
        stage_strides: Sequence[PerAxis] | None = None,
        stride_first: bool = False,
        dilate_first: bool = False,
    ) -> None:
        super().__init__()
        style = Style(dims, norm, depth >= 50, stride_first)
        steps = [axes(dims, step) for step in stage_strides or (2,) * 5]
        rates = dilated_instead(steps, output_stride)
        first = (stem_base or base) if deep_stem else base
        stem = 2 * first if deep_stem else first
        self.stem = _stem(style, in_channels, first, steps[0], deep=deep_stem)
        self.pool = max_pool(dims, 3, steps[1], padding=1) if max(steps[1]) > 1 else nn.Identity()
        self.stages = nn.ModuleList()
        inputs, channels = stem, [stem]
        for stage, blocks in enumerate(_BLOCKS[depth]):
            grid = (*multi_grid, *(1,) * blocks)[:blocks] if stage == 3 else (1,) * blocks
            own = dilate_first or max(grid) > 1
            before = rates[stage] if own else rates[max(stage - 1, 0)]
            dilations = [before, *(rates[stage],) * (blocks - 1)]
            stride = (1,) * dims if stage == 0 else steps[stage + 1]
            layers = []
            for place in range(blocks):
                rate = [one * grid[place] for one in dilations[place]]
                width = base * 2**stage
                layers.append(
                    ResidualBlock(style, inputs, width, stride if place == 0 else (1,) * dims, rate)
                )
                inputs = width * (_EXPANSION if style.bottleneck else 1)
            self.stages.append(nn.Sequential(*layers))
            channels.append(inputs)
        self.channels = tuple(channels)
        self.strides = tuple(multiples(steps[: place + 1]) for place in range(len(steps)))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to features (B, channels, *space / strides)."""
        features = self.stem(image)
        levels = [features]
        features = self.pool(features)
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels


def _stem(style: Style, inputs: int, base: int, stride: Axes, *, deep: bool) -> nn.Module:
    dims, kind = style.dims, style.norm
    if not deep:
        return ConvNormAct(dims, inputs, base, 7, stride=stride, norm_kind=kind)
    return nn.Sequential(
        ConvNormAct(dims, inputs, base, 3, stride=stride, norm_kind=kind),
        ConvNormAct(dims, base, base, 3, norm_kind=kind),
        ConvNormAct(dims, base, 2 * base, 3, norm_kind=kind),
    )
