"""A prediction beside its reference, counted once for all labels and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import LabelMap

_CHUNK = 1 << 22  # voxels, so that the counting needs little room beside the masks
_NEAR_MM = 0.01


class Overlap(NamedTuple):
    """Voxels of one label: in both masks, in the prediction, in the reference."""

    both: int
    prediction: int
    reference: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two masks on one grid; the labels are the reference's, each found by its name.

    Voxels whose reference is the ignore value count for neither; values of no label are
    background. Raises StudyError E_LABEL_GEOMETRY where the grids differ.
    """

    prediction: LabelMap
    reference: LabelMap

    def __post_init__(self) -> None:
        predicted, wanted = self.prediction.grid, self.reference.grid
        if predicted.near(wanted, tolerance_mm=_NEAR_MM):
            return
        if predicted.shape != wanted.shape:
            why = f"have the shapes {predicted.shape} and {wanted.shape}"
        else:
            why = f"lie up to {predicted.farthest_corner_mm(wanted):.3g} mm apart"
        raise StudyError("E_LABEL_GEOMETRY", f"prediction and reference {why}")

    @cached_property
    def counts(self) -> Mapping[str, Overlap]:
        """Voxels of every label and region, from one pass over both masks."""
        known = self.prediction.labels
        rows, columns = [0, *sorted(known.values)], [0, *sorted(self.reference.labels.values)]
        joint = self._joint(rows, columns)
        found = {}
        for label in self.reference.labels:
            mine = known[label.name].values if label.name in known.names else ()
            row = [rows.index(value) for value in mine]
            column = [columns.index(value) for value in label.values]
            found[label.name] = Overlap(
                int(joint[np.ix_(row, column)].sum()),
                int(joint[row].sum()),
                int(joint[:, column].sum()),
            )
        return found

    def _joint(self, rows: list[int], columns: list[int]) -> NDArray[np.int64]:
        """How often each value of the prediction (rows) meets each of the reference (columns)."""
        # The ignore value leads to one column more, which is then left out.
        side = len(columns) + 1
        row, column = np.zeros(65536, np.int32), np.zeros(65536, np.int32)
        row[rows] = np.arange(len(rows)) * side
        column[columns] = np.arange(len(columns))
        if self.reference.labels.ignore is not None:
            column[self.reference.labels.ignore] = side - 1
        predicted, wanted = self.prediction.data.ravel(), self.reference.data.ravel()
        joint = np.zeros(len(rows) * side, np.int64)
        for start in range(0, predicted.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            code = row[predicted[part]] + column[wanted[part]]
            joint += np.bincount(code, minlength=len(joint))
        return joint.reshape(len(rows), side)[:, : side - 1]
