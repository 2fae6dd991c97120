"""RTSTRUCT as reference: outlines in the patient to masks on a scan's grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid, LabelMap, Labels
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.drawn import Structure, labels_of, matched, together
from medseg.io.dicom.outlines import Ring, filled
from medseg.io.dicom.package import understood
from medseg.io.dicom.values import text_of, whole_of

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
_OFF_SLICE = 0.3
"""An outline lies within so much of the distance of slices from one, and all its points do."""


def read_contours(
    path: Path, labels: Labels | None, like: Grid, rois: Mapping[str, str]
) -> tuple[LabelMap, tuple[Caution, ...]]:
    """The mask of an RTSTRUCT on a grid: voxels whose centres are inside, by the even-odd rule.

    Without ``labels`` every contour set is a label of its own name. Raises StudyError
    E_LABEL_VALUES where no structure is a label, E_LABEL_GEOMETRY where outlines
    do not lie in the grid's slices, E_DICOM_TAG where they cannot be read.
    """
    found = read_dataset(path)
    with understood(path):
        try:
            structures = structures_of(found)
            table = labels if labels is not None else labels_of(structures)
            chosen, cautions = matched(table, structures, rois)
            reader = _Contours(found, like)
            mask, more = together(like, table, chosen, reader)
        except StudyError as error:
            raise StudyError(error.code, error.message, path) from None
    return mask, cautions + more + reader.cautions()


def structures_of(found: Any) -> tuple[Structure, ...]:
    """The contour sets that a dataset holds."""
    items = found.get("StructureSetROISequence") or ()
    return tuple(
        Structure(number, text_of(item, "ROIName"))
        for item in items
        if (number := whole_of(item, "ROINumber")) is not None
    )


class _Contours:
    """The masks (X, Y, Z) of a dataset's contour sets, by their numbers."""

    def __init__(self, found: Any, grid: Grid) -> None:
        self.grid, self.outside, self.open = grid, 0, 0
        self.to_index = np.linalg.inv(grid.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
        self.sets: dict[int, list[Any]] = {}
        for item in found.get("ROIContourSequence") or ():
            number = whole_of(item, "ReferencedROINumber")
            if number is not None:
                self.sets[number] = list(item.get("ContourSequence") or ())

    def __call__(self, number: int) -> NDArray[np.bool_]:
        rings: dict[int, list[Ring]] = defaultdict(list)
        for contour in self.sets.get(number, ()):
            if text_of(contour, "ContourGeometricType").upper() not in _CLOSED:
                self.open += 1
                continue
            place, ring = self._placed(contour)
            if 0 <= place < self.grid.shape[2]:
                rings[place].append(ring)
            else:
                self.outside += 1
        mask = np.zeros(self.grid.shape, bool, order="F")
        for place, mine in rings.items():
            mask[:, :, place] = filled(mine, self.grid.shape[:2])
        return mask

    def cautions(self) -> tuple[Caution, ...]:
        """What was left out of the masks."""
        told = []
        if self.outside:
            told.append(f"{self.outside} outlines lie beyond the scan's first or last slice")
        if self.open:
            told.append(f"{self.open} contours are points or open lines")
        return tuple(Caution("W_LABEL_OUTSIDE", f"{one}; they were left out") for one in told)

    def _placed(self, contour: Any) -> tuple[int, Ring]:
        """The slice that an outline lies in, and its points there as continuous indices."""
        try:
            points = np.array([float(x) for x in contour.ContourData]).reshape(-1, 3)
        except (AttributeError, TypeError, ValueError):
            raise StudyError("E_DICOM_TAG", "has ContourData that cannot be read") from None
        if not np.isfinite(points).all() or not len(points):
            raise StudyError("E_DICOM_TAG", "has ContourData that are no numbers")
        index = points @ self.to_index[:3, :3].T + self.to_index[:3, 3]
        place = int(np.rint(np.median(index[:, 2])))
        off = float(np.abs(index[:, 2] - place).max())
        if off > _OFF_SLICE:
            raise StudyError(
                "E_LABEL_GEOMETRY",
                f"an outline lies {off:.2f} slices off the scan's slice {place}; it was drawn on"
                " another series, or across its slices",
            )
        return place, index[:, :2]
