"""A step of a U-Net's decoder: up to the next finer grid, beside its skip, convolved."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class UpStage(nn.Module):
    """``up`` brings the coarser features onto the skip's grid, ``convs`` merge the two.

    ``gate``, where there is one, weighs the skip by what comes from below. A skip that is
    larger, as without borders it is, gives its centre.
    """

    def __init__(self, up: nn.Module, convs: nn.Module, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.up, self.convs, self.gate = up, convs, gate

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """``below (B, C, *coarser)`` and ``skip (B, S, *space)`` to (B, C', *space)."""
        raised = self.up(below)
        skip = central(skip, raised.shape[2:])
        if self.gate is not None:
            skip = self.gate(skip, raised)
        out: Tensor = self.convs(torch.cat([skip, raised], dim=1))
        return out


def central(features: Tensor, space: Sequence[int]) -> Tensor:
    """The centre of ``features (B, C, *space)``, of the size of ``space``."""
    if tuple(features.shape[2:]) == tuple(space):
        return features
    margins = [(side - s) // 2 for side, s in zip(features.shape[2:], space, strict=True)]
    cut = (slice(m, m + side) for m, side in zip(margins, space, strict=True))
    return features[(slice(None), slice(None), *cut)]
