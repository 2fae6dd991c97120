"""BiSeNetV2 (Yu et al. 2021, arXiv:2004.02147), n-D, after the code of github.com/CoinCheung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.encoders.bisenetv2 import DetailBranch, SemanticBranch, Style
from medseg.models.fitting import cropped, padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import ConvNormAct, conv, draw_for_relu, resized, resized_nearest
from medseg.models.modules.bilateral_aggregation import BilateralAggregation
from medseg.models.options import Axes, multiples

if TYPE_CHECKING:
    from medseg.models.bisenetv2 import BiSeNetV2


class BoosterHead(nn.Module):
    """Logits from one grid of the deep branch, on a grid twice as fine; of use in training."""

    def __init__(self, options: BiSeNetV2, inputs: int, steps: Sequence[Axes], labels: int) -> None:
        super().__init__()
        dims, coarse, middle = options.spatial_dims, multiples(steps), options.scaled(128)
        many = options.scaled(max(coarse) ** 2)
        self.finer = [min(2, step) for step in coarse]
        self.conv = ConvNormAct(dims, inputs, middle, norm_kind=options.norm)
        self.dropout = nn.Dropout(options.dropout)
        self.spread = ConvNormAct(dims, middle, many, norm_kind=options.norm)
        self.classifier = conv(dims, many, labels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to logits (B, K, *finer)."""
        features = self.dropout(self.conv(features))
        size = [side * f for side, f in zip(features.shape[2:], self.finer, strict=True)]
        logits: Tensor = self.classifier(self.spread(resized_nearest(features, size)))
        return logits


class BiSeNetV2Net(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: BiSeNetV2, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, kind, steps = options.spatial_dims, options.norm, list(options.steps)
        style = Style(dims, kind, options.expansion)
        deep = [options.scaled(width) for width in (16, 32, 64, 128)]
        shallow = [options.scaled(width) for width in (64, 64, 128)]
        self.multiples = multiples(steps)
        self.detail = DetailBranch(style, in_channels, shallow, steps[:3])
        self.semantic = SemanticBranch(style, in_channels, deep, steps)
        self.aggregation = BilateralAggregation(dims, deep[-1], (steps[3], steps[4]), kind)
        wide = options.scaled(1024)
        self.head = nn.Sequential(
            ConvNormAct(dims, deep[-1], wide, norm_kind=kind),
            nn.Dropout(options.dropout),
            conv(dims, wide, out_channels, 1),
        )
        self.auxiliary = nn.ModuleList(
            BoosterHead(options, width, steps[: place + 2], out_channels)
            for place, width in enumerate(deep if options.auxiliary else ())
        )
        draw_for_relu(self)
        if options.identity_start:
            self.semantic.silence()

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits (B, K, *space), or heads of them."""
        full = padded(image, self.multiples)
        detail, (*grids, context) = self.detail(full)[-1], self.semantic(full)
        said = [self.head(self.aggregation(detail, context))]
        if self.training:
            said += [head(one) for head, one in zip(self.auxiliary, grids, strict=False)]
        fitted = [cropped(resized(one, full.shape[2:]), image.shape[2:]) for one in said]
        return fitted[0] if len(fitted) == 1 else [Head(one) for one in fitted]
