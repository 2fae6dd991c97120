"""Cubic splines as one matrix an axis, applied by the fastest thing there is: a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from medseg.image.resampling import AxisMap

Line = NDArray[np.float32]


@lru_cache(maxsize=32)
def spline_matrix(scale: float, offset: float, length: int, side: int) -> Line:
    """The matrix (side, length) from ``length`` voxels to a cubic spline at ``side`` places.

    Place i lies at ``scale * i + offset`` voxels; beyond the ends the outermost voxels go on. Each
    column is what SciPy makes of a single voxel.
    """
    from scipy.ndimage import affine_transform

    matrix = np.empty((side, length), np.float32)
    for voxel, unit in enumerate(np.eye(length)):
        matrix[:, voxel] = affine_transform(
            unit, np.array([[scale]]), offset, (side,), order=3, mode="nearest"
        )
    matrix.flags.writeable = False
    return matrix


def by_splines(
    data: NDArray[np.float32], maps: Sequence[AxisMap], shape: Sequence[int]
) -> NDArray[np.float32]:
    """A cubic spline of (C, X, Y, Z) on another grid, clipped to each channel's range.

    ``maps`` say for each target axis how it reads a source axis.
    """
    out = np.empty((len(data), *shape), np.float32)
    # What shrinks most comes first, so that what follows is small.
    order = sorted(range(3), key=lambda axis: shape[axis] / maps[axis].length)
    turned = [one.source for one in maps]
    for channel, result in zip(data, out, strict=True):
        lowest, highest = channel.min(), channel.max()
        part = channel
        for axis in order:
            one = maps[axis]
            part = _along(part, one.source, _matrix(one, shape[axis]))
        np.clip(part.transpose(turned), lowest, highest, out=result)
    return out


def _matrix(one: AxisMap, side: int) -> Line:
    if one.exact:
        at = np.clip(np.round(one.positions(0, side)).astype(int), 0, one.length - 1)
        chosen: Line = np.eye(one.length, dtype=np.float32)[at]
        return chosen
    return spline_matrix(one.scale, one.offset, one.length, side)


def _along(volume: Line, axis: int, matrix: Line) -> Line:
    """``volume (X, Y, Z)`` with one of its axes taken through a matrix; nothing is turned round."""
    if volume.flags.f_contiguous and not volume.flags.c_contiguous:
        return _along(volume.T, 2 - axis, matrix).T
    volume = np.ascontiguousarray(volume)
    if axis == 0:
        x, y, z = volume.shape
        flat: Line = matrix @ volume.reshape(x, y * z)
        return flat.reshape(len(matrix), y, z)
    taken: Line = np.matmul(matrix, volume) if axis == 1 else volume @ matrix.T
    return taken
