"""A feature pyramid and the head that sums its levels.

FPN, Lin et al. 2017, arXiv:1612.03144; Semantic-FPN, Kirillov et al. 2019, arXiv:1901.02446.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, conv, resized, resized_nearest


class FeaturePyramid(nn.Module):
    """Every level in ``channels`` channels, each with what the coarser ones saw."""

    def __init__(self, dims: int, inputs: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(conv(dims, one, channels, 1) for one in inputs)
        self.smoothings = nn.ModuleList(conv(dims, channels, channels, 3) for _ in inputs)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features (B, C_i, *space_i), fine to coarse, to as many (B, channels, *space_i)."""
        sums = [lateral(one) for lateral, one in zip(self.laterals, features, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            sums[level] = sums[level] + resized_nearest(sums[level + 1], sums[level].shape[2:])
        return [smooth(one) for smooth, one in zip(self.smoothings, sums, strict=True)]


class SemanticHead(nn.Module):
    """Logits on the finest level's grid: each level convolved and doubled up to it, then summed."""

    def __init__(self, dims: int, inputs: int, labels: int, levels: int, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleList(
                ConvNormAct(dims, channels if place else inputs, channels, norm_kind="group")
                for place in range(max(1, level))
            )
            for level in range(levels)
        )
        self.classifier = conv(dims, channels, labels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, inputs, *space_i), fine to coarse, to logits (B, K, *space_0)."""
        total = cast(nn.ModuleList, self.levels[0])[0](features[0])
        for level in range(1, len(features)):
            one = features[level]
            for place, block in enumerate(cast(nn.ModuleList, self.levels[level])):
                one = resized(block(one), features[level - 1 - place].shape[2:])
            total = total + one
        logits: Tensor = self.classifier(total)
        return logits
