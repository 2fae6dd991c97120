"""The parts of STDC (Fan et al. 2021, arXiv:2104.13188), n-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.models.layers import (
    ConvNormAct,
    NormKind,
    PooledConvNormAct,
    SmoothPool,
    conv,
    global_mean,
    resized_nearest,
)
from medseg.models.options import Axes


class ConcatBlock(nn.Module):
    """Four convolutions one after the other, the outputs of all of them side by side.

    They have 1/2, 1/4, 1/8 and 1/8 of ``outputs``, a multiple of 8, and the later ones see ever
    further. With a ``stride`` the first keeps its grid: it is made coarser by a depthwise
    convolution for those that follow and by a mean for the output.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        stride: Axes | None = None,
        norm_kind: NormKind = "batch",
    ) -> None:
        super().__init__()
        half = outputs // 2
        widths = (inputs, half, outputs // 4, outputs // 8, outputs // 8)
        self.convs = nn.ModuleList(
            ConvNormAct(dims, widths[place], widths[place + 1], kernel, norm_kind=norm_kind)
            for place, kernel in enumerate((1, 3, 3, 3))
        )
        self.coarser: nn.Module = nn.Identity()
        self.pool: nn.Module = nn.Identity()
        if stride is not None:
            self.coarser = ConvNormAct(
                dims, half, half, stride=stride, groups=half, norm_kind=norm_kind, act_kind="none"
            )
            self.pool = SmoothPool(dims, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, *space) to (B, outputs, *coarser)."""
        first, *others = self.convs
        features = first(features)
        said = [self.pool(features)]
        features = self.coarser(features)
        for one in others:
            features = one(features)
            said.append(features)
        return torch.cat(said, 1)


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighed by what the whole image looks like."""

    def __init__(self, dims: int, inputs: int, outputs: int, norm_kind: NormKind = "batch") -> None:
        super().__init__()
        self.conv = ConvNormAct(dims, inputs, outputs, 3, norm_kind=norm_kind)
        self.attention = PooledConvNormAct(dims, outputs, outputs, norm_kind, "none")

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, *space) to (B, outputs, *space)."""
        features = self.conv(features)
        out: Tensor = features * self.attention(global_mean(features)).sigmoid()
        return out


class ContextPath(nn.Module):
    """The meaning of the coarse features, carried back to finer grids.

    It starts from the mean of the coarsest; each of ``channels``, fine to coarse, is refined,
    added, and brought by nearest neighbour to the next finer grid.
    """

    def __init__(
        self, dims: int, channels: Sequence[int], outputs: int, norm_kind: NormKind = "batch"
    ) -> None:
        super().__init__()
        self.whole = PooledConvNormAct(dims, channels[-1], outputs, norm_kind)
        self.refine = nn.ModuleList(
            AttentionRefinement(dims, width, outputs, norm_kind) for width in channels
        )
        self.spread = nn.ModuleList(
            ConvNormAct(dims, outputs, outputs, 3, norm_kind=norm_kind) for _ in channels
        )

    def forward(self, features: Sequence[Tensor], space: Sequence[int]) -> list[Tensor]:
        """``features (B, channels, *space)`` to maps (B, outputs, *finer), fine to coarse.

        ``space`` is the finest; the other maps are on the grids of all features but the last.
        """
        context = self.whole(global_mean(features[-1]))
        spaces = [space, *(one.shape[2:] for one in features[:-1])]
        maps: list[Tensor] = []
        for place in reversed(range(len(spaces))):
            context = self.refine[place](features[place]) + context
            context = self.spread[place](resized_nearest(context, spaces[place]))
            maps.insert(0, context)
        return maps


class FeatureFusion(nn.Module):
    """Detail and context mixed, and the channels that matter for the whole image raised."""

    def __init__(self, dims: int, inputs: int, outputs: int, norm_kind: NormKind = "batch") -> None:
        super().__init__()
        narrow = max(outputs // 4, 1)
        self.mix = ConvNormAct(dims, inputs, outputs, 1, norm_kind=norm_kind)
        self.gate = nn.Sequential(
            conv(dims, outputs, narrow, 1, bias=False),
            nn.ReLU(inplace=True),
            conv(dims, narrow, outputs, 1, bias=False),
        )

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Two of (B, C, *space), together ``inputs`` channels, to (B, outputs, *space)."""
        features = self.mix(torch.cat([detail, context], 1))
        out: Tensor = features + features * self.gate(global_mean(features)).sigmoid()
        return out


class OutputHead(nn.Module):
    """Logits by two convolutions, without biases: of labels, or of an edge for guidance."""

    def __init__(
        self, dims: int, inputs: int, middle: int, labels: int, norm_kind: NormKind = "batch"
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(dims, inputs, middle, 3, norm_kind=norm_kind)
        self.classifier = conv(dims, middle, labels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, *space) to logits (B, labels, *space)."""
        logits: Tensor = self.classifier(self.conv(features))
        return logits
