"""The longest axial diameter of a lesion and the one across it, as RECIST has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid

_Points = NDArray[np.float64]


class Diameters(NamedTuple):
    """Millimetres: the longest in any axial slice, and the longest at right angles to it there.

    (Eisenhauer et al. 2009, doi:10.1016/j.ejca.2008.10.026.)
    """

    longest: float
    across: float


def diameters(marked: NDArray[np.bool_], grid: Grid) -> Diameters:
    """Of voxels (X, Y, Z) with the sides of a grid; the place of the box does not count.

    Slices are those of the axis that follows head to feet most. Ends are the middles of voxels'
    outer edges, so that a row of n voxels is n times the spacing long; the diameter across is a
    chord of the outline's convex hull in the slice of the longest.
    """
    axis = _axial(grid)
    plane = [other for other in range(3) if other != axis]
    basis = _in_plane(grid, plane)
    best: tuple[float, _Points] | None = None
    for layer in np.moveaxis(marked, axis, 0):
        if not layer.any():
            continue
        points = _hull(_ends(layer) @ basis)
        apart = points[:, None] - points[None]
        longest = float(np.sqrt((apart**2).sum(-1).max()))
        if best is None or longest > best[0] + 1e-9:
            best = (longest, points)
    if best is None:
        return Diameters(0.0, 0.0)
    return Diameters(best[0], _across(best[1]))


def _axial(grid: Grid) -> int:
    """The axis along which slices are stacked from foot to head."""
    return next(at for at, code in enumerate(grid.axcodes) if code in "SI")


def _in_plane(grid: Grid, plane: list[int]) -> _Points:
    """From steps along two axes to mm in the plane that they span (2, 2)."""
    one, other = (grid.affine[:3, axis] for axis in plane)
    first = one / np.linalg.norm(one)
    second = other - (other @ first) * first
    second = second / np.linalg.norm(second)
    return np.array([[one @ first, one @ second], [other @ first, other @ second]])


def _ends(layer: NDArray[np.bool_]) -> _Points:
    """Middles of the edges of the outermost pixels of every row and column (N, 2)."""
    found = []
    for turned in (False, True):
        lines = layer.T if turned else layer
        rows = np.flatnonzero(lines.any(1))
        first = lines[rows].argmax(1)
        last = lines.shape[1] - 1 - lines[rows][:, ::-1].argmax(1)
        for edge in (first - 0.5, last + 0.5):
            pair = np.stack([rows, edge], 1).astype(np.float64)
            found.append(pair[:, ::-1] if turned else pair)
    return np.concatenate(found)


def _hull(points: _Points) -> _Points:
    from scipy.spatial import ConvexHull

    # Four edges at least are no line: a hull always exists.
    return np.asarray(points[ConvexHull(points).vertices])


def _across(points: _Points) -> float:
    """The longest chord of a convex outline (N, 2) at right angles to its longest diameter."""
    apart = points[:, None] - points[None]
    a, b = np.unravel_index(int((apart**2).sum(-1).argmax()), apart.shape[:2])
    along = points[b] - points[a]
    along = along / np.linalg.norm(along)
    turned = (points - points[a]) @ np.array([[along[0], -along[1]], [along[1], along[0]]])
    # A chord's length is concave along the diameter, with bends at vertices only.
    order = np.argsort(turned[:, 0], kind="stable")
    at, off = turned[order].T
    upper, lower = off > -1e-9, off < 1e-9
    chords = np.interp(at, at[upper], off[upper]) - np.interp(at, at[lower], off[lower])
    return float(chords.max())
