"""One matrix an axis, applied by the fastest thing there is: a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from medseg.image.resampling import AxisMap

Line = NDArray[np.float32]
Mode: TypeAlias = Literal["nearest", "linear", "cubic"]
Apart: TypeAlias = tuple[int, Literal["nearest", "linear"]]
"""An axis of the target, and the mode that it has for itself."""


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
            part = _along(part, one.source, _matrix(one, shape[axis], "cubic"))
        np.clip(part.transpose(turned), lowest, highest, out=result)
    return out


def by_slices(
    data: NDArray[np.float32],
    maps: Sequence[AxisMap],
    shape: Sequence[int],
    mode: Mode,
    apart: Apart,
) -> NDArray[np.float32]:
    """(C, X, Y, Z) on another grid, every slice across one axis for itself, then along that axis.

    ``maps`` say for each target axis how it reads a source axis; a slice keeps to its own range.
    """
    across, own = apart
    out = np.empty((len(data), *shape), np.float32)
    turned = [one.source for one in maps]
    flat = tuple(axis for axis in range(3) if axis != maps[across].source)
    for channel, result in zip(data, out, strict=True):
        part = channel
        lowest, highest = (f(part, axis=flat, keepdims=True) for f in (np.min, np.max))
        for axis in (axis for axis in range(3) if axis != across):
            part = _along(part, maps[axis].source, _matrix(maps[axis], shape[axis], mode))
        part = np.clip(part, lowest, highest)
        part = _along(part, maps[across].source, _matrix(maps[across], shape[across], own))
        result[...] = part.transpose(turned)
    return out


def _matrix(one: AxisMap, side: int, mode: Mode) -> Line:
    if one.exact or mode == "nearest":
        chosen: Line = np.eye(one.length, dtype=np.float32)[one.nearest(0, side)]
        return chosen
    if mode == "cubic":
        return spline_matrix(one.scale, one.offset, one.length, side)
    low, high, share = one.neighbours(0, side)
    between, rows = np.zeros((side, one.length), np.float32), np.arange(side)
    between[rows, low] = 1 - share
    between[rows, high] += share
    return between


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
