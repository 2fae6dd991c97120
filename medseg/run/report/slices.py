"""Slices in three planes as a radiologist has them: which to show, and how they are turned.

Radiological convention: one looks from the feet or from in front, so that the patient's right is
on the left of axial and coronal slices; sagittal ones have anterior on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image.box import box_around
from medseg.run.report.material import Material
from medseg.run.report.words import intensity

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
_ACROSS = {"axial": 2, "coronal": 1, "sagittal": 0}
# Left, right, top and bottom of a picture.
LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
_MARGIN_MM, _LEAST_MM = 15.0, 60.0
_CT_WINDOW = (-160.0, 240.0)
_AIR = -500.0


@dataclass(frozen=True, eq=False)
class Shown:
    """A slice chosen for a reason; ``index`` counts from 0 along the axis across its plane."""

    plane: Plane
    why: str
    index: int
    of: int
    differing: int | None


@dataclass(frozen=True, eq=False)
class Window:
    """The intensities that are black and white, and how they were found."""

    low: float
    high: float
    how: str

    @property
    def told(self) -> tuple[str, str, str]:
        """Both ends and how they were found, as they are written."""
        return intensity(self.low), intensity(self.high), self.how

    def applied(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey values 0 to 255 of an image of any shape."""
        span = max(self.high - self.low, 1e-6)
        scaled = (np.asarray(image, np.float32) - self.low) * (255.0 / span)
        return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def chosen(material: Material) -> list[Shown]:
    """The worst, the largest and the middle slice of each plane.

    The worst has most voxels that differ between a mask and the reference; the largest has most
    of the reference, or of the mask where there is none; the middle is that of the structures.
    """
    shown, reference = _marked(material)
    differ = None
    if reference is not None:
        differ = np.zeros(material.grid.shape, np.uint8)
        for mask in material.masks.values():
            differ += mask.data != reference.data
    found: list[Shown] = []
    for plane in PLANES:
        axis = _ACROSS[plane]
        others = tuple(one for one in range(3) if one != axis)
        extent = (shown > 0).sum(others)
        wrong = None if differ is None else differ.sum(others, dtype=np.int64)
        size = extent if reference is None else (reference.data > 0).sum(others)
        size = size if size.any() else extent
        places = np.flatnonzero(extent)
        middle = int(places.mean().round()) if len(places) else len(extent) // 2
        if wrong is not None and wrong.any():
            found.append(_shown(plane, "worst", int(wrong.argmax()), wrong, len(extent)))
        largest = int(size.argmax()) if size.any() else middle
        found.append(_shown(plane, "largest", largest, wrong, len(extent)))
        found.append(_shown(plane, "middle", middle, wrong, len(extent)))
    return found


def _shown(plane: Plane, why: str, index: int, wrong: NDArray[np.int64] | None, of: int) -> Shown:
    return Shown(plane, why, index, of, None if wrong is None else int(wrong[index]))


def _marked(material: Material) -> tuple[NDArray[np.bool_], Any]:
    """Where any mask or the reference has a label, and the reference."""
    shown = np.zeros(material.grid.shape, bool)
    for mask in material.outlined.values():
        shown |= mask.data > 0
    if material.reference is not None:
        shown |= material.reference.data > 0
    return shown, material.reference


def framed(material: Material) -> tuple[slice, slice, slice]:
    """The part of the scan that is shown: around all structures, with some room."""
    box = box_around(_marked(material)[0], (1, 1, 1))
    sides = material.grid.shape
    if box is None:
        return slice(0, sides[0]), slice(0, sides[1]), slice(0, sides[2])
    parts = []
    for start, stop, side, mm in zip(*box, sides, material.grid.spacing_mm, strict=True):
        room = max(_MARGIN_MM, (_LEAST_MM - (stop - start) * mm) / 2) / mm
        parts.append(slice(max(0, int(start - room)), min(side, int(np.ceil(stop + room)))))
    return parts[0], parts[1], parts[2]


def window_of(material: Material) -> Window | None:
    """A window for the part that is shown: soft tissue where the scan has air, else percentiles."""
    if material.scan is None:
        return None
    seen = material.scan[framed(material)]
    if np.percentile(material.scan[::2, ::2, ::2], 1) < _AIR:
        return Window(*_CT_WINDOW, "CT, soft tissue")
    low, high = (float(one) for one in np.percentile(seen, (0.5, 99.5)))
    return Window(low, high, "0.5th to 99.5th percentile of what is shown")


def turned(
    data: NDArray[Any], shown: Shown, frame: Sequence[slice], spacing_mm: Sequence[float]
) -> tuple[NDArray[Any], float, float]:
    """A slice (rows, columns) of data in RAS order, and the mm between columns and rows."""
    axis = _ACROSS[shown.plane]
    across, down = (one for one in range(3) if one != axis)
    part = np.take(data, shown.index, axis)[frame[across], frame[down]]
    return part[::-1, ::-1].T, float(spacing_mm[across]), float(spacing_mm[down])
