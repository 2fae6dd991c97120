"""Compiled loops over two masks: pairs of values counted, elements of surfaces found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.compiled import compiled

Marked = NDArray[np.uint8]


@compiled
def tally(
    slab: int,
    predicted: NDArray[Any],
    wanted: NDArray[Any],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    joint: NDArray[np.int64],
    boxes: NDArray[np.int32],
) -> None:
    """Count in ``joint`` how often values meet in a slab (A, B, C) that begins at row ``slab``.

    ``rows`` and ``columns`` give the place of each value in ``joint``; ``boxes`` takes the first
    and the last index of each pair along every axis. Equal neighbours are counted as one run.
    """
    for a in range(predicted.shape[0]):
        for b in range(predicted.shape[1]):
            c, end = 0, predicted.shape[2]
            while c < end:
                begin, one, other = c, predicted[a, b, c], wanted[a, b, c]
                c += 1
                while c < end and predicted[a, b, c] == one and wanted[a, b, c] == other:
                    c += 1
                row, column = rows[one], columns[other]
                joint[row, column] += c - begin
                if row == 0 and column == 0:
                    continue
                box = boxes[row, column]
                box[0] = min(box[0], slab + a)
                box[1] = min(box[1], b)
                box[2] = min(box[2], begin)
                box[3] = max(box[3], slab + a)
                box[4] = max(box[4], b)
                box[5] = max(box[5], c - 1)


@compiled
def own(numbers: NDArray[Any], values: NDArray[Any], owner: NDArray[Any]) -> None:
    """For each number of a component its voxels' value."""
    for place in range(numbers.size):
        owner[numbers[place]] = values[place]


@compiled
def _column(mask: Marked, i: int, j: int, k: int) -> int:
    """The four corners of a 2x2x2 neighbourhood that lie at ``k``, a bit each."""
    low = mask[i, j, k] | mask[i, j + 1, k] << 1
    return int(low | mask[i + 1, j, k] << 2 | mask[i + 1, j + 1, k] << 3)


@compiled
def surfels(
    one: Marked, other: Marked, places: NDArray[np.float32], codes: NDArray[np.uint8]
) -> int:
    """Write where the 2x2x2 neighbourhoods of ``one (A, B, C)`` are mixed, and give their number.

    The corner (i, j, k) of a neighbourhood is bit j + 2 i + 4 k of its code. The masks hold 0 and
    1 and end in a layer of 0. ``places (N, 4)`` takes the centre's index, and 1 where ``other``
    is mixed as well. With N = 0 nothing is written.
    """
    found, room = 0, places.shape[0]
    for i in range(one.shape[0] - 1):
        for j in range(one.shape[1] - 1):
            near, beside = _column(one, i, j, 0), _column(other, i, j, 0)
            for k in range(one.shape[2] - 1):
                code = near | _column(one, i, j, k + 1) << 4
                next_beside = _column(other, i, j, k + 1)
                if 0 < code < 255:
                    if found < room:
                        places[found, 0] = i + 0.5
                        places[found, 1] = j + 0.5
                        places[found, 2] = k + 0.5
                        places[found, 3] = 0 < beside + next_beside < 30
                        codes[found] = code
                    found += 1
                near, beside = code >> 4, next_beside
    return found


@compiled
def _open(mask: Marked, i: int, j: int, k: int) -> bool:
    """Whether a voxel of the mask has one of its six neighbours outside."""
    inside = mask[i - 1, j, k] + mask[i + 1, j, k] + mask[i, j - 1, k] + mask[i, j + 1, k]
    return bool(mask[i, j, k] and inside + mask[i, j, k - 1] + mask[i, j, k + 1] < 6)


@compiled
def borders(
    one: Marked, other: Marked, places: NDArray[np.float32], codes: NDArray[np.uint8]
) -> int:
    """Write the voxels of ``one (A, B, C)`` with a face outside; otherwise as ``surfels``."""
    found, room = 0, places.shape[0]
    for i in range(1, one.shape[0] - 1):
        for j in range(1, one.shape[1] - 1):
            for k in range(1, one.shape[2] - 1):
                if _open(one, i, j, k):
                    if found < room:
                        places[found, 0] = i
                        places[found, 1] = j
                        places[found, 2] = k
                        places[found, 3] = _open(other, i, j, k)
                        codes[found] = 0
                    found += 1
    return found


@compiled
def rim(mask: Marked, offsets: NDArray[np.int64], near: Marked) -> None:
    """Mark in ``near`` the voxels of ``mask (A, B, C)`` at any offset from one outside it.

    Only voxels outside that touch the mask (26 neighbours) are looked at; beyond the array all is
    outside, so that the mask ends in a layer of 0.
    """
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            for k in range(mask.shape[2]):
                if mask[i, j, k] or not _touches(mask, i, j, k):
                    continue
                for place in range(offsets.shape[0]):
                    x, y, z = i + offsets[place, 0], j + offsets[place, 1], k + offsets[place, 2]
                    inside = 0 <= x < mask.shape[0] and 0 <= y < mask.shape[1]
                    if inside and 0 <= z < mask.shape[2] and mask[x, y, z]:
                        near[x, y, z] = 1


@compiled
def _touches(mask: Marked, i: int, j: int, k: int) -> bool:
    """Whether one of the 26 neighbours is in the mask."""
    for x in range(max(0, i - 1), min(mask.shape[0], i + 2)):
        for y in range(max(0, j - 1), min(mask.shape[1], j + 2)):
            for z in range(max(0, k - 1), min(mask.shape[2], k + 2)):
                if mask[x, y, z]:
                    return True
    return False
