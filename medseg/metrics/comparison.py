"""A prediction beside its reference, counted once for all labels and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import LabelMap

_SLAB = 1 << 22  # voxels, so that the counting needs little room beside the masks
_NEAR_MM = 0.01
_VALUES = 65536


class Overlap(NamedTuple):
    """Voxels of one label: in both masks, in the prediction, in the reference."""

    both: int
    prediction: int
    reference: int


@dataclass(frozen=True, eq=False)
class Crop:
    """Both masks of one label in their common box, with a layer of 0 around it.

    ``prediction`` and ``reference`` are (A, B, C) uint8 of 0 and 1, in the order that lies well
    in memory; ``affine`` (4, 4) leads from their indices to mm.
    """

    prediction: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two masks on one grid; the labels are the reference's, each found by its name.

    Voxels whose reference is the ignore value are background in both; values of no label are
    background too. ``threads`` may be at work on surfaces at once. Raises StudyError
    E_LABEL_GEOMETRY where the grids differ.
    """

    prediction: LabelMap
    reference: LabelMap
    threads: int = 1

    def __post_init__(self) -> None:
        predicted, wanted = self.prediction.grid, self.reference.grid
        if predicted.near(wanted, tolerance_mm=_NEAR_MM):
            return
        if predicted.shape != wanted.shape:
            why = f"have the shapes {predicted.shape} and {wanted.shape}"
        else:
            why = f"lie up to {predicted.farthest_corner_mm(wanted):.3g} mm apart"
        raise StudyError("E_LABEL_GEOMETRY", f"prediction and reference {why}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the reference's labels and regions."""
        return self.reference.labels.names

    @property
    def counts(self) -> Mapping[str, Overlap]:
        """Voxels of every label and region, from one pass over both masks."""
        return self._tally.counts

    @property
    def voxels(self) -> int:
        """Voxels that count: all but those to ignore."""
        return self._tally.voxels

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What metrics share: surfaces and lesions, each made when it is first asked for."""
        return {}

    def crop(self, label: str) -> Crop | None:
        """Both masks of a label in their common box, or None where both are empty."""
        box = self._tally.boxes[label]
        if box is None:
            return None
        one, other = (mask.transpose(self._order)[box] for mask in self._masks)
        keep = self.reference.labels.ignore
        kept = None if keep is None else other != keep
        padded = []
        for data, values in zip((one, other), self._values(label), strict=True):
            member = np.zeros(_VALUES, np.uint8)
            member[list(values)] = 1
            room = np.zeros([side + 2 for side in data.shape], np.uint8)
            inner = room[1:-1, 1:-1, 1:-1]
            np.take(member, data, out=inner)
            if kept is not None:
                inner *= kept
            padded.append(room)
        return Crop(padded[0], padded[1], self._affine([side.start - 1 for side in box]))

    def _affine(self, start: Sequence[int]) -> NDArray[np.float64]:
        """From indices of a crop that begins at ``start`` to mm."""
        turn = np.zeros((4, 4))
        turn[list(self._order), [0, 1, 2]] = 1
        turn[3, 3] = 1
        shift = np.eye(4)
        shift[:3, 3] = start
        return np.asarray(self.reference.grid.affine @ turn @ shift)

    def _values(self, label: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The values of a label in the prediction and in the reference."""
        known = self.prediction.labels
        mine = known[label].values if label in known.names else ()
        return mine, self.reference.labels[label].values

    @property
    def _masks(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.prediction.data, self.reference.data

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """The axes as they lie in memory, the one of the longest strides first."""
        strides = self.reference.data.strides
        return tuple(sorted(range(3), key=lambda axis: (-abs(strides[axis]), axis)))

    @cached_property
    def _tally(self) -> _Tally:
        rows = [0, *sorted(self.prediction.labels.values)]
        columns = [0, *sorted(self.reference.labels.values)]
        joint, boxes = self._joint(rows, columns)
        counts, found = {}, {}
        for label in self.reference.labels:
            mine, theirs = self._values(label.name)
            row = [rows.index(value) for value in mine]
            column = [columns.index(value) for value in theirs]
            counts[label.name] = Overlap(
                int(joint[np.ix_(row, column)].sum()),
                int(joint[row].sum()),
                int(joint[:, column].sum()),
            )
            pairs = np.concatenate([boxes[row].reshape(-1, 6), boxes[:, column].reshape(-1, 6)])
            found[label.name] = _around(pairs)
        return _Tally(counts, found, int(joint.sum()))

    def _joint(
        self, rows: Sequence[int], columns: Sequence[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """How often each value of the prediction (rows) meets each of the reference (columns).

        With it the first and last index (rows, columns, 6) of each pair.
        """
        from medseg.metrics.loops import tally

        # The ignore value leads to one column more, which is then left out.
        side = len(columns) + 1
        row, column = np.zeros(_VALUES, np.int32), np.zeros(_VALUES, np.int32)
        row[rows] = np.arange(len(rows))
        column[columns] = np.arange(len(columns))
        if self.reference.labels.ignore is not None:
            column[self.reference.labels.ignore] = side - 1
        joint = np.zeros((len(rows), side), np.int64)
        boxes = np.zeros((len(rows), side, 6), np.int32)
        boxes[..., :3], boxes[..., 3:] = np.iinfo(np.int32).max, -1
        one, other = (mask.transpose(self._order) for mask in self._masks)
        step = max(1, _SLAB // max(1, one[0].size))
        for start in range(0, one.shape[0], step):
            mine, theirs = (np.ascontiguousarray(m[start : start + step]) for m in (one, other))
            tally(start, mine, theirs, row, column, joint, boxes)
        return joint[:, : side - 1], boxes[:, : side - 1]


class _Tally(NamedTuple):
    counts: dict[str, Overlap]
    boxes: dict[str, tuple[slice, ...] | None]
    voxels: int


def _around(boxes: NDArray[np.int32]) -> tuple[slice, ...] | None:
    """One box around boxes (N, 6), or None where all are empty."""
    if not len(boxes) or boxes[:, 3].max() < 0:
        return None
    first, last = boxes[:, :3].min(0), boxes[:, 3:].max(0)
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
