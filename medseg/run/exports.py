"""The masks of a run in other forms beside NIfTI, and whether they still stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.errors import InputError, MedsegError, StudyError
from medseg.image import LabelMap, Study
from medseg.io import sha256_of
from medseg.io.bids_write import entities_of
from medseg.io.exports import OF_DICOM, Format, export_mask, export_path
from medseg.io.layouts_files import normal
from medseg.io.scan import is_series
from medseg.run.folder import inside

if TYPE_CHECKING:
    from pathlib import Path

    from medseg.pipeline import Pipeline
    from medseg.run.records import Record

Exports = dict[str, dict[str, str]]
"""For each form the SHA-256 of each of its files, by their paths under the output folder."""

_IN_COMMON = ("itksnap/labels.txt", "slicer/labels.ctbl", "medseg/dataset_description.json")


def wanted_formats(pipeline: Pipeline) -> tuple[Format, ...]:
    """The forms that a pipeline asks for, beside NIfTI."""
    return tuple(form for form in pipeline.output_options.formats if form != "nifti")


def check_apart(studies: Sequence[Study], pipeline: Pipeline) -> None:
    """InputError E_DUPLICATE_ID, before any work, where two studies would be one file.

    Every output has its study's name, but for BIDS, which allows letters and digits alone.
    """
    by_bids = "bids" in wanted_formats(pipeline)
    taken: dict[str, int] = {}
    for number, study in enumerate(studies):
        names = [study.name, *(["_".join(entities_of(study.name))] if by_bids else [])]
        for name in names:
            twin = taken.setdefault(normal(name), number)
            if twin != number:
                told = f"{studies[twin].name!r} and {study.name!r} would both be written as {name}"
                raise InputError("E_DUPLICATE_ID", told, pipeline.input.path)


def check_exports(study: Study, pipeline: Pipeline) -> None:
    """StudyError E_NO_SOURCE, before any work, where a form cannot be had of this scan."""
    asked = [form for form in wanted_formats(pipeline) if form in OF_DICOM]
    if asked and not is_series(study.images[0]):
        raise StudyError(
            "E_NO_SOURCE",
            f"{' and '.join(asked)} refer to the DICOM slices of a scan, and this one has none",
            study.images[0],
        )


def exported(
    formats: Sequence[Format], mask: LabelMap, study: Study, pipeline: Pipeline, output: Path
) -> Exports:
    """Write a study's mask in each form; what was written. Raises StudyError or OutputError."""
    options = pipeline.output_options
    if options.tool == "medseg":
        from dataclasses import replace

        options = replace(options, tool=f"medseg {pipeline.name}")
    found: Exports = {}
    try:
        for form in formats:
            path = inside(output, export_path(output, form, study.name))
            files = export_mask(form, mask, path, (study.images[0], pipeline.input), options)
            folder = path if form in ("stl", "ply") else path.parent  # in BIDS, of all studies
            found[form] = {
                str((folder / name).relative_to(output)): digest for name, digest in files.items()
            }
    except StudyError:
        withdraw_exports(found, output)
        raise
    return found


def withdraw_exports(exports: Exports, output: Path) -> None:
    """Remove a study's files; those that all studies have in common stay."""
    for name in (name for files in exports.values() for name in files):
        if not name.endswith(_IN_COMMON):
            inside(output, output / name).unlink(missing_ok=True)


def missing_exports(record: Record, pipeline: Pipeline, output: Path) -> tuple[Format, ...]:
    """The forms that an earlier run did not write, or that are no longer what it wrote."""
    known = record.get("exports", {})
    return tuple(
        form
        for form in wanted_formats(pipeline)
        if form not in known
        or any(not _stands(output / name, digest) for name, digest in known[form].items())
    )


def _stands(path: Path, digest: str) -> bool:
    try:
        return sha256_of(path) == digest
    except (OSError, MedsegError):
        return False
