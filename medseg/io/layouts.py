"""Which studies a path means: found by looking, and always said.

A path is one image, a plain folder of images, a pattern with ``{study}``, a CSV or TSV manifest,
a Decathlon data set, an nnU-Net data set, a BIDS data set, or a tree of DICOM files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import Caution, InputError
from medseg.image.study import Study
from medseg.io.layouts_bids import bids, is_bids
from medseg.io.layouts_dicom import Wanted, dicom, is_dicom
from medseg.io.layouts_files import (
    SUFFIXES,
    Found,
    holdings,
    id_of,
    images_in,
    inside,
    normal,
    printable,
    some,
    stem,
)
from medseg.io.layouts_manifest import from_manifest
from medseg.io.layouts_pattern import by_pattern, is_pattern
from medseg.io.layouts_reference import with_references
from medseg.io.layouts_sets import (
    DESCRIPTION,
    decathlon,
    described_in,
    indexed,
    is_decathlon,
    nnunet,
)

__all__ = ["Found", "find_masks", "find_studies"]


def find_studies(
    path: str | Path,
    *,
    reference: str | Path | None = None,
    channels: int | Sequence[str] = 1,
    series: Wanted = None,
) -> Found:
    """The studies that a path means, sorted by name, and how they were found.

    ``channels`` are the names of a study's images, or how many there are. ``reference`` is a
    folder of masks with the studies' names, a pattern with ``{study}``, or one mask; without it
    the layout's own masks are taken. ``series`` says which DICOM series is meant where a visit has
    several. Files are not opened, but for the headers of DICOM.

    Raises InputError: E_NO_INPUT where nothing is found, E_DUPLICATE_ID where two studies would
    share a name.
    """
    path = Path(path)
    try:
        found = _looked_up(path, _names(channels), series)
        found = replace(found, studies=tuple(sorted(found.studies, key=lambda s: s.name)))
        if reference is not None:
            found = with_references(found, Path(reference))
    except OSError as error:
        where = error.filename or path
        raise InputError("E_NO_INPUT", f"cannot be looked into ({error.strerror})", where) from None
    return _with_ids(found, path)


def find_masks(path: str | Path, reference: str | Path) -> Found:
    """The masks of a folder, of whatever tool, each with the reference of the same name.

    A folder is a folder of masks, whatever else its tool has left there; ``masks`` within it where
    it has none itself. Patterns, manifests and single files are as in ``find_studies``. The notes
    tell which masks and which references have no partner, and what may be meant. Raises
    InputError: E_NO_INPUT where nothing matches, E_DUPLICATE_ID where two masks share a name.
    """
    path, reference = Path(path), Path(reference)
    try:
        place, wanted = _with_images(path), _with_images(reference)
        masks = images_in(place) if place.is_dir() else []
        if masks:
            studies = tuple(Study(name, (file,)) for name, file in masks)
            found = Found("plain folder", studies)
        else:
            found = _looked_up(path, ("image",), None)
        found = with_references(found, wanted)
        found = _unmatched(found, wanted)
    except OSError as error:
        where = error.filename or path
        raise InputError("E_NO_INPUT", f"cannot be looked into ({error.strerror})", where) from None
    return _with_ids(found, path)


def _with_images(path: Path) -> Path:
    """The folder itself, or the masks within an output folder."""
    inner = path / "masks"
    return inner if path.is_dir() and not images_in(path) and inner.is_dir() else path


def _unmatched(found: Found, reference: Path) -> Found:
    """The studies that have a reference, and a note on references without a study."""
    paired = tuple(study for study in found.studies if study.reference is not None)
    taken = {os.path.realpath(study.reference) for study in paired if study.reference}
    there = images_in(reference) if reference.is_dir() else []
    left = [name for name, file in there if os.path.realpath(file) not in taken]
    notes = list(found.notes)
    if left:
        have = "reference has" if len(left) == 1 else "references have"
        notes.append(f"{len(left)} {have} no prediction: {some(left)}")
    return replace(found, studies=paired, notes=tuple(notes))


def _names(channels: int | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(channels, int):
        return tuple(channels)
    return ("image",) if channels == 1 else tuple(str(index) for index in range(channels))


def _looked_up(path: Path, channels: Sequence[str], series: Wanted) -> Found:
    if is_pattern(path):
        return by_pattern(path, channels)
    if not os.path.lexists(path):
        above = path.parent
        there = f"; look at {above}: {holdings(above)}" if above.is_dir() else ""
        raise InputError("E_NO_INPUT", f"there is nothing of that name{there}", path)
    if path.is_dir():
        return _in_folder(path, channels, series)
    return _from_file(path, channels, series)


def _from_file(path: Path, channels: Sequence[str], series: Wanted) -> Found:
    name = stem(path)
    if name is not None:
        _refuse_several(path, channels, path.parent / "{study}_{channel}.nii.gz")
        return Found("one file", (Study(name, (path,)),))
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        return from_manifest(path, channels)
    if path.is_file() and path.suffix.lower() == ".json":
        return _described(path, channels)
    if path.is_file() and is_dicom(path):
        return dicom(path, channels, series)
    raise InputError(
        "E_NO_INPUT",
        f"is neither an image ({' '.join(SUFFIXES)}), DICOM, a manifest (.csv, .tsv) nor a"
        " dataset.json",
        path,
    )


def _described(file: Path, channels: Sequence[str]) -> Found:
    said = described_in(file)
    if is_decathlon(said):
        return decathlon(file, said, channels)
    images = file.parent / "imagesTr"
    groups = indexed(images, channels) if images.is_dir() else None
    if groups:
        return nnunet(images, groups, channels)
    raise InputError("E_NO_INPUT", "lists no studies, and there is no imagesTr beside it", file)


def _in_folder(path: Path, channels: Sequence[str], series: Wanted) -> Found:
    if (path / DESCRIPTION).is_file():
        return _described(path / DESCRIPTION, channels)
    for folder in (path / "imagesTr", path / "imagesTs", path):
        groups = indexed(folder, channels) if folder.is_dir() else None
        if groups:
            return nnunet(folder, groups, channels)
    images = images_in(path)
    if images:
        _refuse_several(path, channels, path / "{study}_{channel}.nii.gz")
        return Found("plain folder", tuple(Study(name, (file,)) for name, file in images))
    if is_bids(path):
        return bids(path, channels)
    if is_dicom(path):
        return dicom(path, channels, series)
    raise InputError(
        "E_NO_INPUT",
        f"no image ({' '.join(SUFFIXES)}), no dataset.json, no imagesTr, no sub-* folder, no DICOM;"
        f" {holdings(path)}{_suggested(path)}",
        path,
    )


def _suggested(path: Path) -> str:
    """The pattern that a folder of study folders would be found by."""
    for folder in inside(path)[:50]:
        images = images_in(folder) if folder.is_dir() else []
        if images:
            return f"; a pattern such as {path / '{study}' / images[0][1].name} would find them"
    return ""


def _refuse_several(path: Path, channels: Sequence[str], pattern: Path) -> None:
    if len(channels) > 1:
        raise InputError(
            "E_NO_INPUT",
            f"holds one image a study, and {len(channels)} channels are wanted"
            f" ({', '.join(channels)}); a pattern such as {pattern} names them",
            path,
        )


def _with_ids(found: Found, path: Path) -> Found:
    """Studies by ids that are safe in every file name; a change of name is told."""
    seen: dict[str, Study] = {}
    studies, notes = [], list(found.notes)
    for study in found.studies:
        name = id_of(study.name)
        twin = seen.setdefault(normal(name), study)
        if twin is not study:
            files = some(sorted({str(twin.images[0]), str(study.images[0])}))
            raise InputError(
                "E_DUPLICATE_ID", f"two studies would be called {name!r}: {files}", path
            )
        if name != study.name:
            notes.append(str(Caution("W_NAME", f"'{printable(study.name)}' is called '{name}'")))
        studies.append(replace(study, name=name))
    studies.sort(key=lambda study: study.name)
    return replace(found, studies=tuple(studies), notes=tuple(notes))
