"""DICOM SEG as reference: segments to one mask, on the scan's grid or on a grid of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid, LabelMap, Labels
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.drawn import Structure, labels_of, matched, together
from medseg.io.dicom.header import Header, Plane, read_header
from medseg.io.dicom.package import understood
from medseg.io.dicom.pixels import frames_of
from medseg.io.dicom.placing import placed
from medseg.io.dicom.stacks import Pile
from medseg.io.dicom.values import text_of, whole_of
from medseg.io.geometry import tolerance_mm

_TAGS = ("SegmentationType", "SegmentSequence")
_SAME_MM = 1e-3


def read_segments(
    path: Path, labels: Labels | None, like: Grid | None, rois: Mapping[str, str]
) -> tuple[LabelMap, tuple[Caution, ...]]:
    """The mask of a SEG; on ``like`` where that is given, whose voxels it must share.

    Without ``labels`` every segment is a label of its own name and number. Raises StudyError
    E_LABEL_VALUES, E_LABEL_NOT_INTEGER (a fractional SEG), E_LABEL_GEOMETRY, E_DICOM_TAG, and
    what unpacking pixels can raise.
    """
    header = read_header(path)
    found = read_dataset(path, _TAGS)
    with understood(path):
        structures = segments_of(found)
        kind = text_of(found, "SegmentationType").upper()
    try:
        if kind not in ("BINARY", "LABELMAP"):
            raise StudyError("E_LABEL_NOT_INTEGER", "is a SEG of fractions, not of voxels")
        table = labels if labels is not None else labels_of(structures)
        chosen, cautions = matched(table, structures, rois)
        grid = like if like is not None else own_grid(header)
        reader = _Segments(header, grid, kind == "LABELMAP", {one.number for one in structures})
        mask, more = together(grid, table, chosen, reader)
    except StudyError as error:
        raise StudyError(error.code, error.message, error.path or path) from None
    return mask, cautions + more + reader.cautions


def segments_of(found: Any) -> tuple[Structure, ...]:
    """The segments that a dataset speaks of."""
    segments = []
    for item in found.get("SegmentSequence") or ():
        number = whole_of(item, "SegmentNumber")
        if not number:
            continue  # 0 is the background of a label map
        types = item.get("SegmentedPropertyTypeCodeSequence") or [{}]
        scheme, value = (
            text_of(types[0], "CodingSchemeDesignator"),
            text_of(types[0], "CodeValue"),
        )
        code = f"{scheme}:{value}" if value else ""
        segments.append(Structure(number, text_of(item, "SegmentLabel"), code))
    return tuple(segments)


def own_grid(header: Header) -> Grid:
    """The grid that a SEG's frames lie on; slices without a segment have no frame."""
    seen: dict[tuple[float, ...], Plane] = {}
    for plane in header.planes:
        seen.setdefault(tuple(np.round(plane.position or (), 3)), plane)
    planes = tuple(seen.values())
    if not planes:
        raise StudyError("E_DICOM_TAG", "has no frame with a place", header.path)
    grid = placed(Pile(header, (header,), planes), fill_gaps=True).grid
    said, step = planes[0].between, grid.spacing_mm[2]
    finer = round(step / said) if said and said > _SAME_MM else 1
    if finer > 1 and abs(step / finer - (said or 0)) < 0.01 * step:
        affine = grid.affine.copy()
        affine[:3, 2] /= finer
        x, y, z = grid.shape
        return Grid(affine, (x, y, (z - 1) * finer + 1))
    return grid


@dataclass(frozen=True)
class _Turn:
    """How a frame (columns, rows) lies in a grid: the axis and sense of each of its two axes, and
    the index of its first pixel.
    """

    axes: tuple[int, int]
    senses: tuple[int, int]
    first: tuple[int, int, int]


class _Segments:
    """The masks (X, Y, Z) of a SEG's segments, by their numbers; its pixels are read once."""

    def __init__(self, header: Header, grid: Grid, by_value: bool, numbers: set[int]) -> None:
        self.grid, self.by_value = grid, by_value
        self.parts: dict[int, list[tuple[_Turn, NDArray[Any]]]] = defaultdict(list)
        self.cautions: tuple[Caution, ...] = ()
        for plane, frame in zip(header.planes, frames_of(header, header.planes), strict=True):
            turn = _turned(plane, header, grid)
            segment = int(plane.traits.get("segment") or 0)
            if by_value:
                each = [(number, np.equal(frame.T, number)) for number in numbers]
            else:
                each = [(segment, np.not_equal(frame.T, 0))] if segment in numbers else []
            for number, mask in each:
                if mask.any():
                    self.parts[number].append((turn, mask))

    def __call__(self, number: int) -> NDArray[np.bool_]:
        mask = np.zeros(self.grid.shape, bool, order="F")
        cut = sum(_laid(mask, turn, part) for turn, part in self.parts[number])
        if cut:
            told = f"{cut} voxels of a segment lie outside the scan; they were left out"
            self.cautions += (Caution("W_LABEL_OUTSIDE", told),)
        return mask


def _turned(plane: Plane, header: Header, grid: Grid) -> _Turn:
    """Where a frame lies in a grid whose voxels it shares; StudyError E_LABEL_GEOMETRY if not."""
    one = replace(plane, thickness=1.0, between=1.0)
    frame = placed(Pile(header, (header,), (one,))).grid
    to_index = np.linalg.inv(grid.affine) @ frame.affine
    axes = [int(np.abs(to_index[:3, n]).argmax()) for n in (0, 1)]
    senses = [int(np.sign(to_index[axes[n], n])) for n in (0, 1)]
    first = np.rint(to_index[:3, 3]).astype(int)
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (np.array(frame.shape[:2]) - 1)
    expected = np.repeat(first[None].astype(float), 4, axis=0)
    for n in (0, 1):
        expected[:, axes[n]] += senses[n] * corners[:, n]
    there = frame.world(np.column_stack([corners, np.zeros(4)]))
    off = float(np.sqrt(((grid.world(expected) - there) ** 2).sum(axis=1)).max())
    if axes[0] == axes[1] or off > tolerance_mm(grid):
        raise StudyError(
            "E_LABEL_GEOMETRY",
            f"a segment's pixels lie up to {off:.2f} mm away from the scan's voxels",
        )
    place = (int(first[0]), int(first[1]), int(first[2]))
    return _Turn((axes[0], axes[1]), (senses[0], senses[1]), place)


def _laid(mask: NDArray[np.bool_], turn: _Turn, part: NDArray[np.bool_]) -> int:
    """Put a frame's pixels into a mask; how many had no voxel there."""
    columns, rows = np.nonzero(part)
    at = np.repeat(np.array(turn.first)[:, None], len(columns), axis=1)
    at[turn.axes[0]] += turn.senses[0] * columns
    at[turn.axes[1]] += turn.senses[1] * rows
    inside = ((at >= 0) & (at < np.array(mask.shape)[:, None])).all(axis=0)
    mask[tuple(at[:, inside])] = True
    return int((~inside).sum())
