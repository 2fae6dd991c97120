"""Where a stack's slices lie: sorted along their normal, held against a regular grid.

Instance numbers are no ground to sort by; positions are. Tolerances: a slice may lie 0.02 mm and
1 % of the spacing, at most 0.1 mm, from its place on the grid; orientation vectors are unit
vectors at right angles within 1e-3, as highdicom has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid
from medseg.io.dicom.header import Plane
from medseg.io.dicom.stacks import Pile
from medseg.io.geometry import checked_grid, shear_cautions

Vectors = NDArray[np.float64]
_RIGHT_ANGLE = 1e-3
_SAME_MM = 1e-3
_FARTHEST_OFF_MM = 0.1
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Placed:
    """Slices from the first along the normal to the last, and the place of each on the grid.

    ``at`` counts slices of the grid; where it leaps, slices are missing.
    """

    planes: tuple[Plane, ...]
    at: tuple[int, ...]
    grid: Grid
    cautions: tuple[Caution, ...] = ()

    @property
    def missing(self) -> tuple[int, ...]:
        """The slices of the grid for which there is no file."""
        return tuple(sorted(set(range(self.grid.shape[2])) - set(self.at)))


def placed(pile: Pile, fill_gaps: bool = False) -> Placed:
    """The stack on its grid; a tilted gantry's as the sheared grid that it is.

    Raises StudyError E_DICOM_TAG, E_DICOM_DUPLICATE, E_DICOM_SPACING, E_DICOM_GAP (unless
    ``fill_gaps``), E_SPACING or E_GEOMETRY_SINGULAR, naming the slices.
    """
    _check_tags(pile.planes)
    row, column = _directions(pile.planes[0])
    positions = np.array([plane.position for plane in pile.planes])
    along = positions @ np.cross(row, column)
    order = np.argsort(along, kind="stable")
    planes = tuple(pile.planes[index] for index in order)
    positions, along = positions[order], along[order]
    _refuse_duplicates(planes, along)
    at, step, told = _steps(planes, positions, along, fill_gaps)
    spacing = planes[0].spacing
    assert spacing is not None
    affine = np.eye(4)
    # Along x runs the column index, so the space between columns; y is the row index.
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * spacing[1], column * spacing[0], step
    affine[:3, 3] = positions[0]
    shape = (pile.header.columns, pile.header.rows, at[-1] + 1)
    grid = checked_grid(_TO_RAS @ affine, shape)
    return Placed(planes, at, grid, told + shear_cautions(grid))


def _check_tags(planes: Sequence[Plane]) -> None:
    wanted = {
        "position": "ImagePositionPatient",
        "orientation": "ImageOrientationPatient",
        "spacing": "PixelSpacing",
    }
    for plane in planes:
        for field, tag in wanted.items():
            if getattr(plane, field) is None:
                raise StudyError(
                    "E_DICOM_TAG", f"{called(plane)} has no {tag} that can be read", plane.path
                )
        if not all(side > 0 for side in plane.spacing or ()):
            raise StudyError("E_DICOM_TAG", f"{called(plane)}: PixelSpacing is above 0", plane.path)


def _directions(plane: Plane) -> tuple[Vectors, Vectors]:
    """The directions in which columns and rows are counted, in LPS."""
    both = np.array(plane.orientation).reshape(2, 3)
    lengths = np.sqrt((both**2).sum(axis=1))
    if (np.abs(lengths - 1) > _RIGHT_ANGLE).any() or abs(both[0] @ both[1]) > _RIGHT_ANGLE:
        raise StudyError(
            "E_DICOM_TAG",
            f"{called(plane)}: ImageOrientationPatient is no pair of unit vectors at right angles",
            plane.path,
        )
    row = both[0] / lengths[0]
    column = both[1] - (both[1] @ row) * row
    return row, column / np.sqrt(column @ column)


def _refuse_duplicates(planes: Sequence[Plane], along: Vectors) -> None:
    twice = np.flatnonzero(np.diff(along) <= _SAME_MM)
    if not twice.size:
        return
    first, other = planes[twice[0]], planes[twice[0] + 1]
    if twice.size == len(planes) - 1:
        told = f"all {len(planes)} slices lie at one place ({called(first)} and others)"
    else:
        names = [called(first), called(other)]
        if names[0] == names[1]:
            names = [f"{plane.path.parent.name}/{called(plane)}" for plane in (first, other)]
        pairs = "1 more pair does" if twice.size == 2 else f"{twice.size - 1} more pairs do"
        more = f", and {pairs}" if twice.size > 1 else ""
        told = f"{' and '.join(names)} lie at one place{more}; remove one of each"
    raise StudyError("E_DICOM_DUPLICATE", told, first.path.parent)


def _steps(
    planes: Sequence[Plane], positions: Vectors, along: Vectors, fill_gaps: bool
) -> tuple[tuple[int, ...], Vectors, tuple[Caution, ...]]:
    """Each slice's number on the grid, the vector from one to the next, and cautions."""
    if len(planes) == 1:
        return (0,), *_thickness(planes[0])
    apart = np.diff(along)
    usual = _usual(apart)
    leaps = apart / usual
    counts = np.maximum(np.rint(leaps), 1)
    at = np.concatenate([[0], np.cumsum(counts)])
    # From the first slice to the last, so that rounding of single positions does not add up.
    step = (positions[-1] - positions[0]) / at[-1]
    off = np.sqrt(((positions - positions[0] - at[:, None] * step) ** 2).sum(axis=1))
    allowed = _tolerance_mm(usual)
    if (off > allowed).any():
        raise _uneven(planes, positions, apart, usual, allowed)
    gaps = np.flatnonzero(counts > 1)
    if gaps.size and not fill_gaps:
        raise _gap(planes, apart, usual, gaps)
    numbers = tuple(int(one) for one in at)
    return numbers, step, _between(planes[0], usual, float(apart.max()))


def _usual(apart: Vectors) -> float:
    """The distance of neighbours: the smallest, where all others are its multiples, else the
    one that most have.
    """
    smallest = float(apart.min())
    counts = np.rint(apart / smallest)
    mean = float((apart / counts).mean())
    if (np.abs(apart - counts * mean) <= _tolerance_mm(mean) * counts).all():
        return mean
    return float(np.sort(apart)[(len(apart) - 1) // 2])


def _tolerance_mm(usual: float) -> float:
    return min(_FARTHEST_OFF_MM, 0.02 + 0.01 * usual)


def _thickness(plane: Plane) -> tuple[Vectors, tuple[Caution, ...]]:
    row, column = _directions(plane)
    mm = plane.between or plane.thickness
    if mm is None or mm <= 0:
        raise StudyError(
            "E_DICOM_TAG",
            f"{called(plane)} is the only slice and has no SliceThickness",
            plane.path,
        )
    told = f"one slice alone; its thickness of {mm:g} mm was taken for the third axis"
    return np.cross(row, column) * mm, (Caution("W_SPACING", told),)


def _between(plane: Plane, usual: float, largest: float) -> tuple[Caution, ...]:
    """The header's own distance between slices contradicts their positions."""
    said = plane.between
    if said is None or said <= 0 or min(abs(said - usual), abs(said - largest)) < 0.05 * usual:
        return ()
    told = f"slices lie {usual:g} mm apart, though SpacingBetweenSlices says {said:g}"
    return (Caution("W_SPACING", told),)


def _gap(
    planes: Sequence[Plane], apart: Vectors, usual: float, gaps: NDArray[np.intp]
) -> StudyError:
    places = ", ".join(
        f"{called(planes[index])} and {called(planes[index + 1])} ({apart[index]:.3f} mm)"
        for index in gaps[:3]
    )
    more = f" and at {gaps.size - 3} more places" if gaps.size > 3 else ""
    lost = int(sum(round(float(apart[index]) / usual) - 1 for index in gaps))
    count = "a slice is" if lost == 1 else f"{lost} slices are"
    return StudyError(
        "E_DICOM_GAP",
        f"{count} missing between {places}{more}, where {usual:.3f} mm are usual; set input:"
        " {missing_slices: interpolate} to fill in",
        planes[0].path.parent,
    )


def _uneven(
    planes: Sequence[Plane], positions: Vectors, apart: Vectors, usual: float, allowed: float
) -> StudyError:
    wrong = np.flatnonzero(np.abs(apart - usual) > allowed)
    if wrong.size:
        index = int(wrong[0])
        told = f"{usual:.5g} mm spacing was expected, {apart[index]:.5g} mm found"
    else:
        sideways = np.diff(positions, axis=0)
        off = np.sqrt(((sideways - np.median(sideways, axis=0)) ** 2).sum(axis=1))
        index = int(off.argmax())
        told = f"slices are shifted sideways by {off[index]:.5g} mm"
    return StudyError(
        "E_DICOM_SPACING",
        f"{told} between {called(planes[index])} and {called(planes[index + 1])}",
        planes[0].path.parent,
    )


def called(plane: Plane) -> str:
    """A slice as a message names it: its file, and its frame where it is one of several."""
    name = "".join(c if c.isprintable() else "?" for c in Path(plane.path).name)
    return name if plane.frame == 0 else f"{name} frame {plane.frame + 1}"
