"""Distances between the surfaces of two masks in mm, and shares of surface within a tolerance.

The names of results end in the form of the surface, ``hd95_surfels`` or ``hd95_border``, as the
two differ (``docs/metrics.md`` says by how much).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.comparison import Comparison
from medseg.metrics.conventions import Metric, Values, empty
from medseg.metrics.surface import Form, Surfaces, surfaces


@dataclass(frozen=True)
class _SurfaceDistance(Metric):
    """Distances in mm; without a value where a mask is empty."""

    surface: Form = "surfels"

    @abstractmethod
    def _distances(self, both: Surfaces) -> dict[str, float]:
        """The results of a label that both masks have."""

    @property
    @abstractmethod
    def _names(self) -> tuple[str, ...]:
        """The names of the results without the surface's form."""

    @property
    def agreed(self) -> Values:
        """No distance."""
        return {f"{name}_{self.surface}": 0.0 for name in self._names}

    def values(self, comparison: Comparison, label: str) -> Values:
        """The distances of a label, or which mask is empty."""
        why = empty(comparison.counts[label])
        if why is not None:
            return dict.fromkeys(self.agreed, why)
        both = surfaces(comparison, self.surface)[label]
        assert both is not None  # neither mask is empty
        found = self._distances(both)
        return {f"{name}_{self.surface}": found[name] for name in self._names}


@dataclass(frozen=True)
class Hd(_SurfaceDistance):
    """Hausdorff distance in mm: how far the worst point of either surface is from the other.

    (Huttenlocher et al. 1993, doi:10.1109/34.232073.) One stray voxel decides it.
    """

    _names: ClassVar[tuple[str, ...]] = ("hd",)

    def _distances(self, both: Surfaces) -> dict[str, float]:
        ends = (both.to_reference, both.to_prediction)
        return {"hd": max(float(end.distances_mm[-1]) for end in ends)}


@dataclass(frozen=True)
class Hd95(_SurfaceDistance):
    """Hausdorff distance in mm that ``percentile`` % of each surface keep within.

    The larger of the percentiles of both directions (Huttenlocher et al. 1993,
    doi:10.1109/34.232073); other tools take that of both directions together. With another
    percentile the result has another name, as ``hd99_surfels``.
    """

    percentile: float = 95.0

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile is above 0 and at most 100, not {self.percentile}")

    @property
    def _names(self) -> tuple[str, ...]:
        return (f"hd{self.percentile:g}",)

    def _distances(self, both: Surfaces) -> dict[str, float]:
        ends = (both.to_reference, both.to_prediction)
        return {self._names[0]: max(end.percentile_mm(self.percentile) for end in ends)}


@dataclass(frozen=True)
class Assd(_SurfaceDistance):
    """Average symmetric surface distance in mm: the mean over both surfaces together.

    (Heimann et al. 2009, doi:10.1109/TMI.2009.2013851.) The larger surface counts for more; the
    mean of both directions is another number.
    """

    _names: ClassVar[tuple[str, ...]] = ("assd",)

    def _distances(self, both: Surfaces) -> dict[str, float]:
        ends = (both.to_reference, both.to_prediction)
        total = sum(float(end.distances_mm @ end.weights) for end in ends)
        return {"assd": total / sum(float(end.weights.sum()) for end in ends)}


@dataclass(frozen=True)
class Msd(_SurfaceDistance):
    """Mean surface distance in mm, each direction on its own.

    ``msd_to_reference`` from the prediction's surface grows with what is too much,
    ``msd_to_prediction`` from the reference's with what is missing (Nikolov et al. 2021,
    doi:10.2196/26151).
    """

    _names: ClassVar[tuple[str, ...]] = ("msd_to_reference", "msd_to_prediction")

    def _distances(self, both: Surfaces) -> dict[str, float]:
        means = (both.to_reference.mean_mm, both.to_prediction.mean_mm)
        return dict(zip(self._names, means, strict=True))


@dataclass(frozen=True)
class Nsd(Metric):
    """Normalised surface Dice: the share of both surfaces within a tolerance of the other.

    One result for each of ``tolerances_mm``, as ``nsd_2mm_surfels``; 1 is best. A tolerance is
    what readers differ by (Nikolov et al. 2021, doi:10.2196/26151). 0 where one mask is empty.
    """

    surface: Form = "surfels"
    tolerances_mm: tuple[float, ...] = (1.0, 2.0)

    def __post_init__(self) -> None:
        if not self.tolerances_mm or not all(
            isfinite(one) and one >= 0 for one in self.tolerances_mm
        ):
            raise ValueError(f"tolerances_mm are lengths, not {self.tolerances_mm}")

    @property
    def agreed(self) -> Values:
        """All of both surfaces."""
        return {self._name(one): 1.0 for one in self.tolerances_mm}

    def _name(self, tolerance_mm: float) -> str:
        return f"nsd_{tolerance_mm:g}mm_{self.surface}"

    def values(self, comparison: Comparison, label: str) -> Values:
        """The share within each tolerance."""
        both = surfaces(comparison, self.surface)[label]
        assert both is not None  # one of the masks is not empty
        ends = (both.to_reference, both.to_prediction)
        total = sum(float(end.weights.sum()) for end in ends)
        return {
            self._name(one): sum(end.within(one) for end in ends) / total
            for one in self.tolerances_mm
        }


@dataclass(frozen=True)
class CentroidDistance(Metric):
    """Distance in mm between the centres of mass of the two masks, by the grid's affine.

    Without a value where one is empty. It says where a structure is, not what shape it has.
    """

    @property
    def agreed(self) -> Values:
        """No distance."""
        return {"centroid_distance": 0.0}

    def values(self, comparison: Comparison, label: str) -> Values:
        """The distance, or which mask is empty."""
        why = empty(comparison.counts[label])
        if why is not None:
            return {"centroid_distance": why}
        crop = comparison.crop(label)
        assert crop is not None  # neither mask is empty
        apart = _centre(crop.prediction) - _centre(crop.reference)
        return {"centroid_distance": float(np.linalg.norm(crop.affine[:3, :3] @ apart))}


def _centre(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean index (3,) of the voxels of a mask."""
    centre = []
    for axis, side in enumerate(mask.shape):
        others = tuple(other for other in range(3) if other != axis)
        there = mask.sum(axis=others, dtype=np.int64)
        centre.append(float(there @ np.arange(side)) / int(there.sum()))
    return np.array(centre)


@dataclass(frozen=True)
class BoundaryIou(Metric):
    """IoU of the two rims: the voxels of each mask within ``width_mm`` of one outside it.

    Sees errors at borders that the IoU of large structures hides (Cheng et al. 2021,
    arXiv:2103.16562, there in pixels of 2D images). Distances are between voxel centres; voxels
    with a face outside are always of the rim, and the array's edge is a border. 0 where one mask is
    empty.
    """

    width_mm: float = 2.0

    def __post_init__(self) -> None:
        if not (isfinite(self.width_mm) and self.width_mm > 0):
            raise ValueError(f"width_mm is a length above 0, not {self.width_mm}")

    @property
    def agreed(self) -> Values:
        """The same rims."""
        return {self._name: 1.0}

    @property
    def _name(self) -> str:
        return f"boundary_iou_{self.width_mm:g}mm"

    def values(self, comparison: Comparison, label: str) -> Values:
        """The rims' IoU; 0 where one mask is empty."""
        crop = comparison.crop(label)
        assert crop is not None  # one of the masks is not empty
        offsets = _ball(crop.affine[:3, :3], self.width_mm)
        mine, theirs = _rim(crop.prediction, offsets), _rim(crop.reference, offsets)
        both, either = np.count_nonzero(mine & theirs), np.count_nonzero(mine | theirs)
        return {self._name: int(both) / int(either)}


def _ball(linear: NDArray[np.float64], radius_mm: float) -> NDArray[np.int64]:
    """Offsets (N, 3) of voxels whose centres lie within a radius, and of those next door."""
    # A ball's reach along an index axis is its radius times the length of the inverse's row.
    reach = np.floor(radius_mm * np.linalg.norm(np.linalg.inv(linear), axis=1) + 1e-9).astype(int)
    around = [np.arange(-side, side + 1) for side in reach]
    offsets = np.stack(np.meshgrid(*around, indexing="ij"), -1).reshape(-1, 3)
    near = np.linalg.norm(offsets @ linear.T, axis=1) <= radius_mm * (1 + 1e-9)
    beside = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    return np.unique(np.concatenate([offsets[near], beside]).astype(np.int64), axis=0)


def _rim(mask: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    from medseg.metrics.loops import rim

    near = np.zeros_like(mask)
    rim(mask, offsets, near)
    return near
