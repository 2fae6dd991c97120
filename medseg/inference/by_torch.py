"""The decision of ``kernels`` by torch, for probabilities that lie on a GPU.

The same rule: in a cell whose corners agree, by more than rounding can undo, nothing is
interpolated; elsewhere every label is, step by step as the compiled loop has it.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medseg.inference.kernels import MARGIN, UNSURE

if TYPE_CHECKING:
    from medseg.inference.decision import Lines

_POINTS = 1 << 25
"""Interpolated probabilities held at once."""
Line = tuple[Tensor, Tensor, Tensor]


def painted(scores: Tensor, lines: Lines, values: Tensor, exclusive: bool) -> Tensor:
    """Values (A, B, C) of voxels that lie within cells of ``scores (X, Y, Z, K)``.

    ``lines`` give along each axis the lower and the upper source voxel of each of them and the
    share of the upper; ``values`` are what labels, the background first, or regions write.
    """
    device = scores.device
    placed = [tuple(torch.from_numpy(part).to(device) for part in line) for line in lines]
    x, y, z = ((low, high, share) for low, high, share in placed)
    codes = _winners(scores) if exclusive else _members(scores)
    found = _agreed(codes, x, y, z)
    unsure = torch.nonzero(found == UNSURE)
    for part in torch.split(unsure, max(1, _POINTS // scores.shape[-1])):
        decided = _between(scores, part, x, y, z)
        found[tuple(part.T)] = decided.argmax(-1) if exclusive else _code(decided >= 0.5)
    values = values.to(device)
    return values[found] if exclusive else _last_of(found, values)


def _winners(scores: Tensor) -> Tensor:
    """The first of the highest labels of each voxel, or UNSURE."""
    if scores.shape[-1] == 1:
        return torch.zeros(scores.shape[:3], dtype=torch.int64, device=scores.device)
    best, winner = scores.max(-1)
    second = scores.topk(2, -1).values[..., 1]
    winner[best - second <= float(MARGIN) * best.abs().clamp(min=1)] = UNSURE
    return winner


def _members(scores: Tensor) -> Tensor:
    """Which regions each voxel is in, a bit for each, or UNSURE."""
    over = scores - 0.5
    codes = _code(over > 0)
    codes[(over.abs() <= float(MARGIN)).any(-1)] = UNSURE
    return codes


def _code(inside: Tensor) -> Tensor:
    bits = 1 << torch.arange(inside.shape[-1], device=inside.device)
    return (inside * bits).sum(-1)


def _agreed(codes: Tensor, x: Line, y: Line, z: Line) -> Tensor:
    """For each target voxel the code that all corners of its cell share, or UNSURE."""
    for axis, (low, high, _) in enumerate((x, y, z)):
        first, second = codes.index_select(axis, low), codes.index_select(axis, high)
        codes = torch.where(first == second, first, UNSURE)
    return codes


def _between(scores: Tensor, at: Tensor, x: Line, y: Line, z: Line) -> Tensor:
    """Probabilities (N, K) at target voxels ``at (N, 3)``: along x, then y, then z."""
    ends = [(line[0][place], line[1][place]) for line, place in zip((x, y, z), at.T, strict=True)]
    shares = [line[2][place][:, None] for line, place in zip((x, y, z), at.T, strict=True)]
    corners = {
        (i, j, k): scores[ends[0][i], ends[1][j], ends[2][k]]
        for i, j, k in product(range(2), repeat=3)
    }
    sides = []
    for k in range(2):
        low, high = (_towards(corners[0, j, k], corners[1, j, k], shares[0]) for j in range(2))
        sides.append(_towards(low, high, shares[1]))
    return _towards(sides[0], sides[1], shares[2])


def _towards(near: Tensor, far: Tensor, share: Tensor) -> Tensor:
    return near + share * (far - near)


def _last_of(codes: Tensor, values: Tensor) -> Tensor:
    """What the last region of each code writes; background where there is none."""
    found = torch.zeros_like(codes, dtype=values.dtype)
    for place, value in enumerate(values):
        found = torch.where((codes >> place & 1).bool(), value, found)
    return found
