"""Linear interpolation along three axes in one pass over the target's voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.compiled import by_rows, compiled, threads

Line = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]
"""Along an axis of the target: the source voxels before and after, and the share of the second."""


def interpolate(
    source: NDArray[np.float32], lines: tuple[Line, Line, Line], out: NDArray[np.float32]
) -> None:
    """Fill ``out`` with ``source (X, Y, Z)`` at the places of ``lines``: along x, then y, then z.

    However the source lies in memory, it is read along it.
    """
    x, y, z = lines
    if abs(source.strides[0]) < abs(source.strides[2]):
        work = (source.T, (z, y, x), False, out.T)
    else:
        work = (source, (x, y, z), True, out)
    by_rows(_fill, work[3].shape[0] * work[3].shape[1], threads(), *work)


@compiled
def _fill(
    begin: int,
    stop: int,
    source: NDArray[np.float32],
    lines: tuple[Line, Line, Line],
    forwards: bool,
    out: NDArray[np.float32],
) -> None:
    """Rows of ``out``; the last axis is interpolated along last, or first if not ``forwards``."""
    along_a, along_b, along_c = lines
    wide = out.shape[1]
    for row in range(begin, stop):
        a, b = row // wide, row % wide
        low_a, high_a, share_a = along_a[0][a], along_a[1][a], along_a[2][a]
        low_b, high_b, share_b = along_b[0][b], along_b[1][b], along_b[2][b]
        for c in range(out.shape[2]):
            low_c, high_c, share_c = along_c[0][c], along_c[1][c], along_c[2][c]
            lll, llh = source[low_a, low_b, low_c], source[low_a, low_b, high_c]
            lhl, lhh = source[low_a, high_b, low_c], source[low_a, high_b, high_c]
            hll, hlh = source[high_a, low_b, low_c], source[high_a, low_b, high_c]
            hhl, hhh = source[high_a, high_b, low_c], source[high_a, high_b, high_c]
            if forwards:
                before = _plane(lll, hll, lhl, hhl, share_a, share_b)
                after = _plane(llh, hlh, lhh, hhh, share_a, share_b)
                out[a, b, c] = before + share_c * (after - before)
            else:
                before = _plane(lll, llh, lhl, lhh, share_c, share_b)
                after = _plane(hll, hlh, hhl, hhh, share_c, share_b)
                out[a, b, c] = before + share_a * (after - before)


@compiled
def _plane(near: Any, far: Any, near_up: Any, far_up: Any, share: Any, share_up: Any) -> Any:
    """Between four corners: along the first of two axes, then the second."""
    low = near + share * (far - near)
    high = near_up + share * (far_up - near_up)
    return low + share_up * (high - low)
