"""A prediction beside its reference, counted once for all labels and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from medseg.errors import StudyError
from medseg.image import LabelMap

_CHUNK = 1 << 22


class Overlap(NamedTuple):
    """Voxels of one label: in both masks, in the prediction, in the reference."""

    both: int
    prediction: int
    reference: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two masks on one grid; the labels are the reference's.

    Voxels whose reference is the ignore value count for neither. Raises StudyError
    E_LABEL_GEOMETRY where the grids differ.
    """

    prediction: LabelMap
    reference: LabelMap

    def __post_init__(self) -> None:
        if not self.prediction.grid.near(self.reference.grid, tolerance_mm=0.01):
            raise StudyError(
                "E_LABEL_GEOMETRY",
                f"prediction {self.prediction.grid.shape} and reference"
                f" {self.reference.grid.shape} do not share a grid",
            )

    @cached_property
    def counts(self) -> Mapping[str, Overlap]:
        """Voxels of every label and region, from one pass over both masks."""
        labels = self.reference.labels
        values = [0, *sorted(labels.values)]
        joint = self._joint(values)
        found = {}
        for label in labels:
            mine = [values.index(value) for value in label.values]
            found[label.name] = Overlap(
                int(joint[np.ix_(mine, mine)].sum()),
                int(joint[mine].sum()),
                int(joint[:, mine].sum()),
            )
        return found

    def _joint(self, values: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """How often each value of the prediction (rows) meets each of the reference."""
        # Values of no label are background; the ignore value leads out of the table.
        side = len(values) + 1
        table = np.zeros(65536, np.int32)
        table[values] = np.arange(len(values))
        ignored = table.copy()
        if self.reference.labels.ignore is not None:
            ignored[self.reference.labels.ignore] = side - 1
        predicted, wanted = self.prediction.data.ravel(), self.reference.data.ravel()
        joint = np.zeros(side * side, np.int64)
        for start in range(0, predicted.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            code = table[predicted[part]] * side + ignored[wanted[part]]
            joint += np.bincount(code, minlength=side * side)
        return joint.reshape(side, side)[:, : side - 1]
