"""The smallest box around what is marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int, int]


def box_around(marked: NDArray[np.bool_], margin: Sequence[int]) -> tuple[Corner, Corner] | None:
    """First voxel and the one past the last of a box around ``marked (X, Y, Z)``.

    ``margin`` voxels are added along each axis as far as the array reaches. None where nothing
    is marked.
    """
    # Two passes over all voxels; the third axis is seen in what one of them leaves.
    flat, side_on = np.any(marked, axis=2), np.any(marked, axis=0)
    if not flat.any():
        return None
    spans = []
    seen = (np.any(flat, axis=1), np.any(flat, axis=0), np.any(side_on, axis=0))
    for side, more, line in zip(marked.shape, margin, seen, strict=True):
        rows = np.flatnonzero(line)
        spans.append((max(0, int(rows[0]) - more), min(side, int(rows[-1]) + 1 + more)))
    (x, x_end), (y, y_end), (z, z_end) = spans
    return (x, y, z), (x_end, y_end, z_end)
