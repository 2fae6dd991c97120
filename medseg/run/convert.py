"""``medseg convert``: scans and masks from one form to another, and data sets between layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from medseg.errors import InputError, MedsegError
from medseg.execution import serial
from medseg.image import Labels, Study
from medseg.io import ReadOptions, find_studies, has_no_grid, read_labels, read_scan
from medseg.io.exports import OF_DICOM, ExportOptions, Format, export_mask
from medseg.io.own_table import is_mask, labels_in
from medseg.io.write_scan import write_scan
from medseg.run.data_sets import DataSet
from medseg.run.events import Note, State, StudyDone, Watch, unheard

TARGETS = (
    *("nifti", "nrrd", "seg_nrrd", "dicom_seg", "rtstruct", "stl", "ply", "itksnap", "slicer"),
    *("nnunet", "decathlon", "bids"),
)
_LAYOUTS = ("nnunet", "decathlon", "bids")
_ENDINGS = {"nifti": ".nii.gz", "nrrd": ".nrrd"}
_BY_SUFFIX = {
    ".seg.nrrd": "seg_nrrd",
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "nrrd",
    ".ctbl": "slicer",
}


@dataclass(frozen=True)
class Conversion:
    """What is asked for.

    ``labels`` names the values of masks (None: as they say themselves, or by their numbers);
    ``scan`` is the image that a mask lies on: outlines get its grid, SEG and RTSTRUCT refer to
    it. ``mask`` says that the input is a mask where its form does not tell.
    """

    to: str
    labels: Labels | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    channels: tuple[str, ...] = ("image",)
    reference: Path | None = None
    scan: Path | None = None
    mask: bool = False


@dataclass(frozen=True)
class Converted:
    """Files and folders that were written, and what could not be converted."""

    written: tuple[Path, ...]
    failures: Mapping[str, MedsegError] = field(default_factory=dict)


def target_of(out: Path) -> str:
    """The form that a file's name asks for. Raises InputError E_OUTPUT_NAME where it has none."""
    for suffix, form in _BY_SUFFIX.items():
        if out.name.lower().endswith(suffix):
            return form
    raise InputError(
        "E_OUTPUT_NAME", f"its name says no form; say it by --to: {', '.join(TARGETS)}", out
    )


def convert(where: Path, out: Path, asked: Conversion, watch: Watch = unheard) -> Converted:
    """Convert a file, DICOM series or a data set; what fails of many does not stop the others.

    Raises MedsegError where nothing can be begun, or where there is one thing to do and it fails.
    """
    if asked.to in _LAYOUTS:
        return _data_set(where, out, asked, watch)
    if asked.to not in _ENDINGS or asked.mask or is_mask(where):
        return Converted(_mask(where, out, asked))
    found = find_studies(where, channels=1, series=asked.options.series or "each")
    for note in found.notes:
        watch(Note(note))
    several = len(found.studies) > 1 or out.is_dir() or not out.suffix

    def work(study: Study) -> Path:
        path = out / f"{study.name}{_ENDINGS[asked.to]}" if several else out
        scan = read_scan(study, asked.options)
        for caution in scan.cautions:
            watch(Note(f"{study.name}: {caution}"))
        write_scan(path, scan.frames, scan.geometry)
        return path

    written, failures = [], {}
    for done in serial(work, found.studies):
        state: State = "done" if done.error is None else "failed"
        watch(StudyDone(done.item.name, state, done.seconds, str(done.error or "")))
        if done.result is not None:
            written.append(done.result)
        elif done.error is not None:
            failures[done.item.name] = done.error
    return Converted(tuple(written), failures)


def _mask(where: Path, out: Path, asked: Conversion) -> tuple[Path, ...]:
    if asked.to == "nrrd":
        raise InputError("E_OUTPUT_NAME", "masks are written as NIfTI or .seg.nrrd", out)
    if asked.to in OF_DICOM and asked.scan is None:
        raise InputError("E_NO_SOURCE", "refers to DICOM slices; name them by --scan", out)
    if asked.scan is None and has_no_grid(where):
        raise InputError("E_NO_INPUT", "holds outlines; say by --scan on which scan's grid", where)
    grid, geometry = None, None
    if asked.scan is not None:
        scan = read_scan(Study(asked.scan.name, (asked.scan,)), asked.options)
        grid, geometry = scan.frames[0].grid, scan.geometry
    labels = asked.labels or labels_in(where, grid)
    mask, _ = read_labels(where, labels, grid, asked.options)
    if asked.to == "nifti":
        from medseg.io import write_mask

        write_mask(out, mask, geometry)
        return (out,)
    form: Format = next(one for one in get_args(Format) if one == asked.to)
    source = None if asked.scan is None else (asked.scan, asked.options)
    files = export_mask(form, mask, out, source, ExportOptions(tool="medseg convert"))
    folder = out if form in ("stl", "ply") else out.parent
    return tuple(folder / name for name in files)


def _data_set(where: Path, out: Path, asked: Conversion, watch: Watch) -> Converted:
    found = find_studies(
        where,
        reference=asked.reference,
        channels=asked.channels,
        series=asked.options.series or "each",
    )
    for note in found.notes:
        watch(Note(note))
    made = DataSet(asked.to, out, asked.channels, asked.labels, asked.options)
    failures = made.write(found.studies, watch)
    if len(failures) == len(found.studies):
        raise next(iter(failures.values()))
    return Converted((out,), failures)
