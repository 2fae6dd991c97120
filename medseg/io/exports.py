"""Masks in the forms that other programs want, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import StudyError
from medseg.image import LabelMap
from medseg.image.study import Stack
from medseg.io.bids_write import write_derivative
from medseg.io.label_table import write_itksnap_table, write_slicer_table
from medseg.io.meshes import write_meshes
from medseg.io.options import ReadOptions
from medseg.io.seg_nrrd import SUFFIX, write_seg_nrrd

Format = Literal[
    "nifti", "dicom_seg", "rtstruct", "seg_nrrd", "stl", "ply", "itksnap", "slicer", "bids"
]
OF_DICOM = ("dicom_seg", "rtstruct")


@dataclass(frozen=True)
class ExportOptions:
    """How masks are written beside NIfTI.

    ``segments`` is binary (a SEG with one layer a label) or labelmap (newer, smaller, read by
    fewer programs). ``holes`` in RTSTRUCT are keyhole (joined to their outline) or xor. ``tool``
    is what SEG and RTSTRUCT say made them.
    """

    segments: Literal["binary", "labelmap"] = "binary"
    holes: Literal["keyhole", "xor"] = "keyhole"
    tool: str = "medseg"


def export_mask(
    form: Format,
    mask: LabelMap,
    path: Path,
    scan: tuple[Path | Stack, ReadOptions] | None = None,
    options: ExportOptions | None = None,
) -> Mapping[str, str]:
    """Write a mask in one form; the SHA-256 of each file by its name.

    ``path`` is the file, for meshes the folder, for BIDS the folder of all derivatives and the
    study's name. ``scan`` is the image that the mask was made
    of: SEG and RTSTRUCT refer to its DICOM slices. Raises OutputError, and StudyError
    E_NO_SOURCE where there are no such slices.
    """
    options = options or ExportOptions()
    if form in OF_DICOM:
        return {path.name: _dicom(form, mask, path, scan, options)}
    if form in ("stl", "ply"):
        return write_meshes(path, mask, form)
    if form == "seg_nrrd":
        return {path.name: write_seg_nrrd(path, mask)}
    if form == "itksnap":
        return {path.name: write_itksnap_table(path, mask.labels)}
    if form == "slicer":
        return {path.name: write_slicer_table(path, mask.labels)}
    if form == "bids":
        return write_derivative(path, mask, scan[0] if scan is not None else None, options.tool)
    from medseg.io.write import write_mask

    return {path.name: write_mask(path, mask)}


def export_path(folder: Path, form: Format, name: str) -> Path:
    """Where a study's mask of one form lies under an output folder."""
    endings = {
        "nifti": f"masks/{name}.nii.gz",
        "seg_nrrd": f"seg_nrrd/{name}{SUFFIX}",
        "dicom_seg": f"dicom_seg/{name}.dcm",
        "rtstruct": f"rtstruct/{name}.dcm",
        "itksnap": "itksnap/labels.txt",
        "slicer": "slicer/labels.ctbl",
        "bids": f"derivatives/medseg/{name}",
    }
    return folder / endings.get(form, f"{form}/{name}")


def _dicom(
    form: str,
    mask: LabelMap,
    path: Path,
    scan: tuple[Path | Stack, ReadOptions] | None,
    options: ExportOptions,
) -> str:
    from medseg.io.dicom.rtstruct_write import write_contours
    from medseg.io.dicom.seg_write import write_segments
    from medseg.io.dicom.source import source_of
    from medseg.io.scan import is_series

    if scan is None or not is_series(scan[0]):
        what = "a SEG" if form == "dicom_seg" else "an RTSTRUCT"
        raise StudyError(
            "E_NO_SOURCE", f"{what} refers to the DICOM slices of its scan, and this scan has none"
        )
    source = source_of(*scan)
    if form == "rtstruct":
        return write_contours(path, mask, source, options.holes, options.tool)
    return write_segments(path, mask, source, options.segments, options.tool)
