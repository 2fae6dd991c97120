"""SEG and RTSTRUCT as masks: which of them a file is, and what it can be read without."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import Caution, StudyError
from medseg.image import Grid, LabelMap, Labels
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.header import read_header
from medseg.io.dicom.index import looks_like_dicom
from medseg.io.dicom.package import understood
from medseg.io.dicom.rtstruct_read import read_contours, structures_of
from medseg.io.dicom.seg_read import read_segments, segments_of
from medseg.io.options import ReadOptions


def read_drawing(
    path: Path, labels: Labels | None, like: Grid | None, options: ReadOptions | None = None
) -> tuple[LabelMap, tuple[Caution, ...]]:
    """The mask of a SEG or an RTSTRUCT; outlines need ``like``, for they have no grid.

    Without ``labels`` every structure is a label of its own name. Raises StudyError
    E_NOT_AN_IMAGE for other DICOM, and what the readers of both raise.
    """
    kind = read_header(path).kind
    rois = (options or ReadOptions()).rois
    if kind == "segments":
        return read_segments(path, labels, like, rois)
    if kind != "contours":
        raise StudyError("E_NOT_AN_IMAGE", "is DICOM, and neither SEG nor RTSTRUCT", path)
    if like is None:
        raise StudyError(
            "E_LABEL_GEOMETRY",
            "holds outlines, which have no voxels; say on which scan's grid they are wanted",
            path,
        )
    return read_contours(path, labels, like, rois)


def are_outlines(path: Path) -> bool:
    """Whether a file holds outlines, whose voxels are those of the scan that they are laid on."""
    return read_header(path).kind == "contours"


def names_in(path: Path) -> list[str]:
    """What the structures of a drawing are called by whoever drew them; free text."""
    found = read_dataset(path, ("SegmentSequence", "StructureSetROISequence"))
    with understood(path):
        return [one.name for one in (*segments_of(found), *structures_of(found))]


def is_drawing(path: Path) -> bool:
    """Whether a file is a SEG or an RTSTRUCT."""
    if not looks_like_dicom(path):
        return False
    try:
        return read_header(path).kind in ("segments", "contours")
    except StudyError:
        return False
