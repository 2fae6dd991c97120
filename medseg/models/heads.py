"""What a network gives while it trains: its logits, and what else is to be supervised.

The training loop knows no network by name; a head says what it is and how much it weighs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


class Head(NamedTuple):
    """Logits (B, K, *space) on the image's grid or a coarser one over the same space."""

    logits: Tensor
    weight: float = 1.0


class DetailHead(NamedTuple):
    """Logits (B, 1, *space) of lying at the edge of a label (STDC, Fan et al. 2021)."""

    logits: Tensor
    weight: float = 1.0


class PointHead(NamedTuple):
    """Logits (B, K, N) at ``points (B, N, dims)`` of the image (PointRend, Kirillov et al. 2020).

    Points as ``grid_sample`` has them with ``align_corners=False``: the last axis first, -1 at
    the outer side of the first voxel and 1 at the outer side of the last.
    """

    logits: Tensor
    points: Tensor
    weight: float = 1.0


Heads: TypeAlias = list[Head | DetailHead | PointHead]
"""The first is a Head on the image's own grid."""


def halving(logits: Sequence[Tensor]) -> Heads:
    """Deep supervision: each head weighs half as much as the next finer, all of them 1."""
    total = sum(0.5**place for place in range(len(logits)))
    return [Head(one, 0.5**place / total) for place, one in enumerate(logits)]
