"""Surfaces of two masks and how far each lies from the other, found once for every metric.

Two ways to say what a surface is. ``surfels``: the elements in 2x2x2 neighbourhoods of voxels that
are neither all inside nor all outside, at their centres, each counting by its area (Nikolov et al.
2021, doi:10.2196/26151). ``border``: the voxels of a mask with one of their six neighbours
outside, at their centres, each counting the same. Outside the array all is background, so that a
structure has a surface where the field of view ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.comparison import Comparison, Crop

Form = Literal["surfels", "border"]
_Floats = NDArray[np.float64]
# So that the last bits of an affine do not decide on which side of a limit much of a surface lies.
_NEAR_MM, _ROUNDING = 1e-6, 1e-12


@dataclass(frozen=True, eq=False)
class Directed:
    """From each element of one surface to the nearest of the other, the nearest pairs first.

    ``distances_mm`` (N,) and what each counts, ``weights`` (N,): mm2 of surfels, 1 of border
    voxels. Both are empty where the mask is; distances are infinite where the other is empty.
    """

    distances_mm: _Floats
    weights: _Floats
    weighted: bool

    @property
    def mean_mm(self) -> float:
        """The mean distance, by weight."""
        return float(np.average(self.distances_mm, weights=self.weights))

    def percentile_mm(self, percent: float) -> float:
        """The distance that ``percent`` of the surface does not pass.

        By area of surfels it is the first distance at which that share is reached; of border
        voxels it is NumPy's percentile, which interpolates.
        """
        if not self.weighted:
            return float(np.percentile(self.distances_mm, percent))
        shares = np.cumsum(self.weights) / self.weights.sum()
        place = int(np.searchsorted(shares, percent / 100 - _ROUNDING))
        return float(self.distances_mm[min(place, len(shares) - 1)])

    def within(self, tolerance_mm: float) -> float:
        """The weight of what lies within a tolerance, or a millionth of a mm beyond it."""
        return float(self.weights[self.distances_mm <= tolerance_mm + _NEAR_MM].sum())


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Both directions of one label: what every surface metric is read from."""

    to_reference: Directed
    to_prediction: Directed


def surfaces(comparison: Comparison, form: Form) -> Mapping[str, Surfaces | None]:
    """The surfaces of every label, found at the first call; None where both masks are empty."""
    key = ("surfaces", form)
    if key not in comparison.kept:
        comparison.kept[key] = _all(comparison, form)
    found: dict[str, Surfaces | None] = comparison.kept[key]
    return found


def _all(comparison: Comparison, form: Form) -> dict[str, Surfaces | None]:
    from medseg.metrics import loops  # noqa: F401 - compiled loops are loaded by one thread

    def of(label: str) -> Surfaces | None:
        crop = comparison.crop(label)
        return None if crop is None else _surfaces(crop, form)

    names = comparison.labels
    if comparison.threads < 2 or len(names) < 2:
        return {name: of(name) for name in names}
    # The largest first, so that no thread is left with it at the end.
    by_size = sorted(names, key=lambda name: -sum(comparison.counts[name]))
    with ThreadPoolExecutor(comparison.threads) as pool:
        found = dict(zip(by_size, pool.map(of, by_size), strict=True))
    return {name: found[name] for name in names}


def _surfaces(crop: Crop, form: Form) -> Surfaces:
    mine = _elements(crop.prediction, crop.reference, crop.affine, form)
    theirs = _elements(crop.reference, crop.prediction, crop.affine, form)
    weighted = form == "surfels"
    return Surfaces(_directed(mine, theirs, weighted), _directed(theirs, mine, weighted))


@dataclass(frozen=True, eq=False)
class _Elements:
    """Points (N, 3) in mm, their weights (N,), and which are of the other surface too (N,)."""

    points_mm: _Floats
    weights: _Floats
    shared: NDArray[np.bool_]


def _elements(
    one: NDArray[np.uint8], other: NDArray[np.uint8], affine: _Floats, form: Form
) -> _Elements:
    from medseg.metrics import loops
    from medseg.metrics.surfels import surfel_areas

    find = loops.surfels if form == "surfels" else loops.borders
    count = find(one, other, np.empty((0, 4), np.float32), np.empty(0, np.uint8))
    places, codes = np.empty((count, 4), np.float32), np.empty(count, np.uint8)
    find(one, other, places, codes)
    weights = surfel_areas(affine)[codes] if form == "surfels" else np.ones(count)
    # Where the box lies in the patient changes no distance, and near zero floats are finest.
    points = places[:, :3].astype(np.float64) @ affine[:3, :3].T
    return _Elements(points, weights, places[:, 3] > 0)


def _directed(source: _Elements, target: _Elements, weighted: bool) -> Directed:
    from scipy.spatial import KDTree

    distances = np.zeros(len(source.weights))
    away = ~source.shared
    if not len(target.weights):
        distances[:] = np.inf
    elif away.any():
        tree = KDTree(target.points_mm, leafsize=16, compact_nodes=False, balanced_tree=False)
        distances[away] = tree.query(source.points_mm[away])[0]
    order = np.argsort(distances, kind="stable")
    return Directed(distances[order], source.weights[order], weighted)
