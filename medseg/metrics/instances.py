"""Lesions one by one: a mask's components, each measured, and found by another mask or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Label, LabelMap, Labels
from medseg.image.box import box_around
from medseg.image.labels import HIGHEST_VALUE
from medseg.metrics.diameters import Diameters, diameters
from medseg.metrics.measure import Reason

Connectivity = Literal[6, 18, 26]
Point = tuple[float, float, float]
_Numbers = NDArray[np.uint32]


@dataclass(frozen=True)
class Instance:
    """One component of a label: its number from 1, the largest first, and its size and place.

    ``low_mm`` and ``high_mm`` are the corners of its box in RAS+ mm, over whole voxels;
    ``centroid_mm`` its centre of mass. ``confidence`` is the mean probability of its voxels, None
    where that is not known.
    """

    number: int
    volume_ml: float
    low_mm: Point
    high_mm: Point
    centroid_mm: Point
    diameters_mm: Diameters
    confidence: float | None = None


def split(marked: NDArray[np.bool_], connectivity: Connectivity = 26) -> _Numbers:
    """The component of each voxel (X, Y, Z), from 1, the largest first; 0 where nothing is.

    Equal ones are in the order in which they lie in memory.
    """
    import cc3d

    found = np.zeros(marked.shape, np.uint32)
    box = box_around(marked, (0, 0, 0))
    if box is None:
        return found
    inner = tuple(slice(a, b) for a, b in zip(*box, strict=True))
    pieces = cc3d.connected_components(
        np.ascontiguousarray(marked[inner]).astype(np.uint8), connectivity=connectivity
    )
    sizes = np.bincount(pieces.ravel())
    order = np.argsort(-sizes[1:], kind="stable") + 1
    rank = np.zeros(len(sizes), np.uint32)
    rank[order] = np.arange(1, len(sizes))
    found[inner] = rank[pieces]
    return found


def instances(
    mask: LabelMap, numbers: _Numbers, confidence: Sequence[float] | None = None
) -> tuple[Instance, ...]:
    """Each component of ``numbers (X, Y, Z)`` on the grid of ``mask``, measured.

    ``confidence`` is the mean probability of each, from component 1 on.
    """
    from scipy.ndimage import find_objects

    told = []
    for number, box in enumerate(find_objects(numbers.view(np.int32)), 1):
        if box is None:
            continue
        here = numbers[box] == number
        start = [side.start for side in box]
        index = np.argwhere(here) + start
        low, high = _corners(mask, index)
        sure = None if confidence is None else confidence[number - 1]
        told.append(
            Instance(
                number,
                len(index) * mask.grid.voxel_ml,
                low,
                high,
                _point(mask.grid.world(index.mean(0))),
                diameters(here, mask.grid),
                sure,
            )
        )
    return tuple(told)


def _corners(mask: LabelMap, index: NDArray[np.intp]) -> tuple[Point, Point]:
    """The box in mm around voxels (N, 3), by their outer corners."""
    reach = np.abs(mask.grid.affine[:3, :3]).sum(1) / 2
    world = mask.grid.world(index)
    return _point(world.min(0) - reach), _point(world.max(0) + reach)


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = (float(one) for one in values)
    return x, y, z


@dataclass(frozen=True, eq=False)
class Matching:
    """Components of a prediction beside those of a reference.

    ``predicted`` and ``wanted`` are the voxels of each, ``pairs`` the two indices (from 0) of those
    that were matched, and ``ious`` theirs.
    """

    predicted: NDArray[np.int64]
    wanted: NDArray[np.int64]
    pairs: tuple[tuple[int, int], ...]
    ious: tuple[float, ...]

    def f1(self) -> float | Reason:
        """2 TP / (2 TP + FP + FN)."""
        both = len(self.predicted) + len(self.wanted)
        return 2 * len(self.pairs) / both if both else "both_empty"

    def dice(self) -> float | Reason:
        """The sum of matched pairs' Dice over TP + FP + FN: what was missed counts as 0."""
        either = len(self.predicted) + len(self.wanted) - len(self.pairs)
        total = sum(2 * iou / (1 + iou) for iou in self.ious)
        return total / either if either else "both_empty"

    def panoptic(self) -> float | Reason:
        """The sum of IoU above 0.5 over TP + (FP + FN) / 2, by such pairs alone."""
        good = [iou for iou in self.ious if iou > 0.5]
        both = (len(self.predicted) + len(self.wanted)) / 2
        return sum(good) / both if both else "both_empty"

    def unmatched(self) -> NDArray[np.int64]:
        """Voxels of each predicted component that no reference stands behind."""
        taken = {pair[0] for pair in self.pairs}
        return np.array([n for at, n in enumerate(self.predicted) if at not in taken], np.int64)


def match(predicted: _Numbers, wanted: _Numbers, least_iou: float) -> Matching:
    """Match components of two masks (A, B, C) one to one.

    Pairs that share voxels and whose IoU is ``least_iou`` or more may match; of all ways to match
    them the one with the largest sum of IoU is taken (Kuhn 1955, doi:10.1002/nav.3800020109).
    """
    from scipy.optimize import linear_sum_assignment

    sizes, others = np.bincount(predicted.ravel())[1:], np.bincount(wanted.ravel())[1:]
    both = (predicted > 0) & (wanted > 0)
    meeting = np.stack([predicted[both], wanted[both]], 1).astype(np.int64) - 1
    places, shared = np.unique(meeting, axis=0, return_counts=True)
    ious = shared / (sizes[places[:, 0]] + others[places[:, 1]] - shared)
    allowed = ious >= least_iou
    places, ious = places[allowed], ious[allowed]
    # Most components of noisy masks meet none: only those that may match are looked at.
    rows, row = np.unique(places[:, 0], return_inverse=True)
    columns, column = np.unique(places[:, 1], return_inverse=True)
    merit = np.zeros((len(rows), len(columns)))
    merit[row, column] = ious
    chosen = [(a, b) for a, b in zip(*linear_sum_assignment(-merit), strict=True) if merit[a, b]]
    return Matching(
        sizes,
        others,
        tuple((int(rows[a]), int(columns[b])) for a, b in chosen),
        tuple(float(merit[pair]) for pair in chosen),
    )


def numbered(
    mask: LabelMap, names: Sequence[str] | None = None, connectivity: Connectivity = 26
) -> LabelMap:
    """An instance mask (X, Y, Z): the components of labels, numbered on from label to label.

    Its labels are called "liver 1", "liver 2" and so on. Where regions overlap, the later one is
    written over. Raises StudyError E_LABEL_VALUES for more than 65535.
    """
    result = np.zeros(mask.data.shape, np.uint32)
    entries: list[Label] = []
    for name in names or mask.labels.names:
        found = split(mask.where(name), connectivity)
        there = found > 0
        result[there] = found[there] + len(entries)
        count = int(found.max())
        if len(entries) + count > HIGHEST_VALUE:
            told = f"{len(entries) + count} instances are more than a mask can number"
            raise StudyError("E_LABEL_VALUES", told)
        entries += [Label(f"{name} {n}", (len(entries) + n,)) for n in range(1, count + 1)]
    labels = Labels(tuple(entries)) if entries else mask.labels
    return LabelMap(result.astype(np.uint16), mask.grid, labels)
