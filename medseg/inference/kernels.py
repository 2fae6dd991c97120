"""Compiled loops over voxels: what wins in each, decided only where neighbours disagree.

Probabilities lie channel-last, (X, Y, Z, K), and axes are those of the probabilities' own grid.
Between a and b lies a + share * (b - a), rounded after each step, here as in the general path.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.compiled import compiled

UNSURE = -1
"""Stands for a voxel whose winner could be another one after rounding."""
MARGIN = np.float32(1e-5)
"""Far above what rounding does to a score of 1, far below what tells labels apart."""
MOST_REGIONS = 30
"""Regions whose membership fits into one code."""


@compiled
def add_window(
    begin: int,
    stop: int,
    said: NDArray[np.float32],
    weights: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    corner: tuple[int, int, int],
    sums: NDArray[np.float32],
) -> None:
    """Add rows of a window ``said (x, y, z, K)``, weighed along each side, to a ring of rows."""
    depth = sums.shape[0]
    for x in range(begin, stop):
        row = (corner[0] + x) % depth
        for y in range(said.shape[1]):
            across = weights[0][x] * weights[1][y]
            for z in range(said.shape[2]):
                weight = across * weights[2][z]
                for label in range(said.shape[3]):
                    sums[row, corner[1] + y, corner[2] + z, label] += said[x, y, z, label] * weight


@compiled
def winners(begin: int, stop: int, scores: NDArray[np.float32], codes: NDArray[np.int32]) -> None:
    """The first of the highest labels of each voxel of ``scores (X, Y, Z, K)``, or UNSURE."""
    sides, labels = scores.shape, scores.shape[3]
    for row in range(begin, stop):
        x, y = row // sides[1], row % sides[1]
        for z in range(sides[2]):
            best, second, winner = scores[x, y, z, 0], -np.inf, 0
            for label in range(1, labels):
                score = scores[x, y, z, label]
                if score > best:
                    second, best, winner = best, score, label
                elif score > second:
                    second = score
            sure = best - second > MARGIN * max(np.float32(1), abs(best))
            codes[x, y, z] = winner if sure else UNSURE


@compiled
def members(begin: int, stop: int, scores: NDArray[np.float32], codes: NDArray[np.int32]) -> None:
    """Which regions each voxel of ``scores (X, Y, Z, K)`` is in, a bit for each, or UNSURE."""
    sides, labels = scores.shape, scores.shape[3]
    for row in range(begin, stop):
        x, y = row // sides[1], row % sides[1]
        for z in range(sides[2]):
            code = 0
            for label in range(labels):
                over = scores[x, y, z, label] - np.float32(0.5)
                if abs(over) <= MARGIN:
                    code = UNSURE
                    break
                if over > 0:
                    code |= 1 << label
            codes[x, y, z] = code


@compiled
def _value(code: int, values: NDArray[Any], exclusive: bool) -> Any:
    """What is written for a code: the winner's value, or that of the last region."""
    if exclusive:
        return values[code]
    found = values[0] - values[0]
    for label in range(values.size):
        if code >> label & 1:
            found = values[label]
    return found


@compiled
def _agreed(codes: NDArray[np.int32], x: Any, y: Any, z: Any) -> int:
    """The code that all eight corners of a cell share, or UNSURE."""
    first = codes[x[0], y[0], z[0]]
    if (
        first == codes[x[0], y[0], z[1]]
        and first == codes[x[0], y[1], z[0]]
        and first == codes[x[0], y[1], z[1]]
        and first == codes[x[1], y[0], z[0]]
        and first == codes[x[1], y[0], z[1]]
        and first == codes[x[1], y[1], z[0]]
        and first == codes[x[1], y[1], z[1]]
    ):
        return int(first)
    return UNSURE


@compiled
def _candidates(scores: NDArray[np.float32], x: Any, y: Any, z: Any) -> NDArray[np.intp]:
    """The labels that can win somewhere in a cell: not surely below another all over it."""
    labels = scores.shape[3]
    highest = np.empty(labels, np.float32)
    floor = np.float32(-np.inf)
    for label in range(labels):
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for i in x:
            for j in y:
                for k in z:
                    score = scores[i, j, k, label]
                    low, high = min(low, score), max(high, score)
        highest[label] = high
        floor = max(floor, low)
    return np.flatnonzero(highest >= floor - MARGIN * max(np.float32(1), abs(floor)))


@compiled
def _between(scores: NDArray[np.float32], label: int, x: Any, y: Any, z: Any, shares: Any) -> Any:
    """One label's probability within a cell, along x, then y, then z."""
    near, far = np.float32(0), np.float32(0)
    for side in range(2):
        k = z[side]
        a, b = scores[x[0], y[0], k, label], scores[x[1], y[0], k, label]
        c, d = scores[x[0], y[1], k, label], scores[x[1], y[1], k, label]
        low = a + shares[0] * (b - a)
        high = c + shares[0] * (d - c)
        near, far = far, low + shares[1] * (high - low)
    return near + shares[2] * (far - near)


@compiled
def _decided(
    scores: NDArray[np.float32],
    labels: NDArray[np.intp],
    x: Any,
    y: Any,
    z: Any,
    shares: Any,
    exclusive: bool,
) -> int:
    """The code of one voxel, from the labels that can win there."""
    if not exclusive:
        code = 0
        for label in range(scores.shape[3]):
            if _between(scores, label, x, y, z, shares) >= np.float32(0.5):
                code |= 1 << label
        return code
    winner, best = 0, np.float32(-np.inf)
    for label in labels:
        score = _between(scores, label, x, y, z, shares)
        if score > best:
            winner, best = label, score
    return winner


@compiled
def paint(
    begin: int,
    stop: int,
    scores: NDArray[np.float32],
    codes: NDArray[np.int32],
    along_x: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]],
    along_y: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]],
    along_z: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]],
    runs: NDArray[np.intp],
    values: NDArray[Any],
    exclusive: bool,
    mask: NDArray[Any],
) -> None:
    """Write the mask (A, B, C) whose voxels lie within cells of ``scores (X, Y, Z, K)``.

    ``along_*`` give the lower and the upper source voxel of each target voxel and the share of
    the upper; ``runs`` where along the last axis a new cell begins, and the end. Rows ``begin``
    to ``stop`` are those of the mask's first two axes.
    """
    high = mask.shape[1]
    for row in range(begin, stop):
        a, b = row // high, row % high
        x, y = (along_x[0][a], along_x[1][a]), (along_y[0][b], along_y[1][b])
        share_x, share_y = along_x[2][a], along_y[2][b]
        for run in range(runs.size - 1):
            first, last = runs[run], runs[run + 1]
            z = (along_z[0][first], along_z[1][first])
            code = _agreed(codes, x, y, z)
            if code != UNSURE:
                mask[a, b, first:last] = _value(code, values, exclusive)
                continue
            labels = _candidates(scores, x, y, z)
            for c in range(first, last):
                shares = (share_x, share_y, along_z[2][c])
                decided = _decided(scores, labels, x, y, z, shares, exclusive)
                mask[a, b, c] = _value(decided, values, exclusive)
