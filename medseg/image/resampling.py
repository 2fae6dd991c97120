"""The one place where voxels change grid.

Two grids are related by the matrix that takes voxel indices of the one to those of the other.
Where it only crops, pads, flips or swaps, voxels are copied and nothing is lost. Where each
axis is merely scaled, every axis is interpolated on its own; only oblique pairs of grids
need all three at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image.grid import Affine, Grid
from medseg.image.labelmap import LabelMap
from medseg.image.splines import Apart, Mode, by_slices, by_splines
from medseg.image.volume import Volume

__all__ = [
    "AxisMap",
    "Mode",
    "axis_maps",
    "index_map",
    "inside_of",
    "resample",
    "resample_labels",
]

_EXACT = 1e-6  # voxels: what rounding in headers leaves of a whole number
_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}


@dataclass(frozen=True)
class AxisMap:
    """How one axis of a target grid reads a source axis: ``source = scale * target + offset``."""

    source: int
    scale: float
    offset: float
    length: int
    """Voxels along the source axis."""

    @property
    def exact(self) -> bool:
        """Whether every target voxel's centre is a source voxel's centre."""
        return abs(self.scale) == 1.0 and self.offset == round(self.offset)

    def positions(self, start: int, stop: int) -> NDArray[np.float64]:
        """Source positions, in voxels, of target voxels ``start`` to ``stop``."""
        return np.arange(start, stop, dtype=np.float64) * self.scale + self.offset

    def inside(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of these target voxels have their centre in the source's field of view."""
        at = self.positions(start, stop)
        return (at >= -0.5 - _EXACT) & (at <= self.length - 0.5 + _EXACT)

    def neighbours(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """The two source voxels around each target voxel and the weight of the second."""
        at = np.clip(self.positions(start, stop), 0, self.length - 1)
        low = np.minimum(np.floor(at), max(self.length - 2, 0)).astype(np.intp)
        high = np.minimum(low + 1, self.length - 1)
        return low, high, (at - low).astype(np.float32)

    def nearest(self, start: int, stop: int) -> NDArray[np.intp]:
        """The source voxel nearest to each target voxel; of two as near, the higher one.

        Where a whole number of target voxels fills the field of view, rounding decides between
        two as near just as in SciPy and nnU-Net, which count from its edge.
        """
        scale = abs(self.scale)
        count = round(self.length / scale)
        # Target voxels from the edge of the field of view, along the source's direction.
        first = (0.5 * scale - 0.5 - self.offset) / self.scale
        from_edge = (np.arange(start, stop) - round(first)) * (1 if self.scale > 0 else -1)
        fits = abs(count * scale - self.length) < _EXACT and abs(first - round(first)) < _EXACT
        if count and fits:
            at = self.length / count * (from_edge + 0.5) - 0.5
        else:
            at = np.round(self.positions(start, stop), 9)
        found: NDArray[np.intp] = np.clip(np.floor(at + 0.5), 0, self.length - 1).astype(np.intp)
        return found


def index_map(target: Grid, source: Grid) -> Affine:
    """The (4, 4) matrix from voxel indices of ``target`` to those of ``source``.

    Entries are rounded far below what a scanner knows, so that equal geometries stored in
    different orders give equal numbers.
    """
    matrix = np.linalg.solve(source.affine, target.affine)
    matrix[3] = (0, 0, 0, 1)
    rounded = np.round(matrix, 9)
    whole = np.round(rounded)
    slack = _EXACT / max(*target.shape, *source.shape)
    snapped = np.where(np.abs(rounded - whole) < slack, whole, rounded)
    snapped[:3, 3] = np.where(
        np.abs(rounded[:3, 3] - whole[:3, 3]) < _EXACT, whole[:3, 3], rounded[:3, 3]
    )
    return snapped + 0.0


def axis_maps(target: Grid, source: Grid) -> tuple[AxisMap, AxisMap, AxisMap] | None:
    """For each target axis how it reads the source, or None where the grids are oblique."""
    matrix = index_map(target, source)
    linear = matrix[:3, :3]
    if (np.count_nonzero(linear, axis=0) != 1).any() or (
        np.count_nonzero(linear, axis=1) != 1
    ).any():
        return None
    maps = []
    for axis in range(3):
        old = int(np.flatnonzero(linear[:, axis])[0])
        maps.append(
            AxisMap(old, float(linear[old, axis]), float(matrix[old, 3]), source.shape[old])
        )
    return maps[0], maps[1], maps[2]


def _taken(
    data: NDArray[Any], maps: Sequence[AxisMap], shape: Sequence[int], outside: float | None
) -> NDArray[Any]:
    """Voxels (..., X, Y, Z) along exact maps; beyond the edge, border or ``outside``.

    Turned and swapped axes are the same memory seen otherwise; a part of it is copied once.
    """
    lead = data.ndim - 3
    turned = data.transpose([*range(lead), *(lead + m.source for m in maps)])
    for axis, (one, side) in enumerate(zip(maps, shape, strict=True)):
        at = np.round(one.positions(0, side)).astype(np.intp)
        valid = (at >= 0) & (at < one.length)
        if valid.all():
            part = slice(int(at.min()), int(at.max()) + 1)
            turned = turned[(slice(None),) * (lead + axis) + (part,)]
            turned = turned if one.scale > 0 else np.flip(turned, lead + axis)
            continue
        turned = turned.take(np.clip(at, 0, one.length - 1), axis=lead + axis)
        if outside is not None:
            beyond = (slice(None),) * (lead + axis) + (~valid,)
            turned[beyond] = outside
    # Of a part a copy, as a view would keep the whole in memory.
    return turned if turned.size >= data.size else turned.copy(order="K")


def _interpolated(
    data: NDArray[np.float32], maps: Sequence[AxisMap], shape: Sequence[int]
) -> NDArray[np.float32]:
    """Linear interpolation of (C, X, Y, Z) along the source's axes, in their own order."""
    from medseg.image.linear import interpolate

    order = sorted(range(3), key=lambda axis: maps[axis].source)
    x, y, z = (maps[axis].neighbours(0, shape[axis]) for axis in order)
    out = np.empty((len(data), *(shape[axis] for axis in order)), np.float32)
    for channel, result in zip(data, out, strict=True):
        interpolate(channel, (x, y, z), result)
    return out.transpose([0, *(1 + one.source for one in maps)])


def _by_spline(
    data: NDArray[np.float32], target: Grid, source: Grid, order: int
) -> NDArray[np.float32]:
    from scipy.ndimage import affine_transform

    matrix = index_map(target, source)
    out = np.empty((data.shape[0], *target.shape), np.float32)
    for channel, result in zip(data, out, strict=True):
        affine_transform(
            channel,
            matrix[:3, :3],
            matrix[:3, 3],
            target.shape,
            output=result,
            order=order,
            mode="nearest",
        )
        if order > 1:
            np.clip(result, channel.min(), channel.max(), out=result)
    return out


def inside_of(target: Grid, source: Grid) -> NDArray[np.bool_]:
    """Which voxels (X, Y, Z) of ``target`` have their centre in the field of ``source``."""
    matrix = index_map(target, source)
    result = np.ones(target.shape, bool)
    grids = np.ogrid[tuple(slice(0, side) for side in target.shape)]
    for axis, length in enumerate(source.shape):
        at = matrix[axis, 3] + sum(matrix[axis, t] * grids[t] for t in range(3))
        result &= (at >= -0.5 - _EXACT) & (at <= length - 0.5 + _EXACT)
    return result


def resample(
    volume: Volume,
    grid: Grid,
    mode: Mode = "linear",
    outside: float | None = None,
    apart: Apart | None = None,
) -> Volume:
    """Bring a volume onto another grid.

    Crops, pads, flips and swaps of axes copy voxels whatever the mode. ``cubic`` is a spline
    of order 3, clipped to each channel's range. Beyond the field of view the border voxels go
    on, or the value is ``outside``. ``apart`` is an axis of ``grid`` with a mode of its own:
    slices across it are resampled, and clipped, each for itself. Oblique grids have none.
    """
    if volume.grid == grid:
        return volume
    maps = axis_maps(grid, volume.grid)
    if maps is not None and all(one.exact for one in maps):
        return Volume(_taken(volume.data, maps, grid.shape, outside), grid)
    if maps is not None and apart is not None:
        data = by_slices(volume.data, maps, grid.shape, mode, apart)
    elif maps is not None and mode == "linear":
        data = _interpolated(volume.data, maps, grid.shape)
    elif maps is not None and mode == "cubic":
        data = by_splines(volume.data, maps, grid.shape)
    else:
        data = _by_spline(volume.data, grid, volume.grid, _ORDER[mode])
    if outside is not None:
        data[:, ~inside_of(grid, volume.grid)] = outside
    return Volume(data, grid)


def resample_labels(mask: LabelMap, grid: Grid, apart: Apart | None = None) -> LabelMap:
    """Bring a mask onto another grid; beyond its field of view there is background.

    Voxels are copied where the grids allow it. Elsewhere each value's occupancy is
    interpolated linearly and the greatest wins; among equals the smallest value. ``apart`` is
    an axis of ``grid`` with a mode of its own, as in ``resample``.
    """
    if mask.grid == grid:
        return mask
    maps = axis_maps(grid, mask.grid)
    if maps is not None and all(one.exact for one in maps):
        taken = np.ascontiguousarray(_taken(mask.data, maps, grid.shape, 0))
        return LabelMap(taken, grid, mask.labels)
    best = np.zeros(grid.shape, np.float32)
    result = np.zeros(grid.shape, mask.data.dtype)
    for value in np.unique(mask.data):
        occupied = Volume((mask.data == value).astype(np.float32)[None], mask.grid)
        share = resample(occupied, grid, "linear", apart=apart).data[0]
        wins = share > best
        best[wins] = share[wins]
        result[wins] = value
    result[~inside_of(grid, mask.grid)] = 0
    return LabelMap(result, grid, mask.labels)
