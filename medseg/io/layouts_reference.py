"""References that are named apart from the scans: a folder, a pattern or one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from medseg.errors import InputError
from medseg.image.study import Study
from medseg.io.layouts_dicom import drawn_for, is_dicom
from medseg.io.layouts_files import Found, holdings, id_of, images_in, normal, some, stem
from medseg.io.layouts_pattern import check_fields, filled, is_pattern


def with_references(found: Found, reference: Path) -> Found:
    """The studies with the masks that ``reference`` holds for them.

    Raises InputError E_NO_INPUT where there is none for any study.
    """
    if is_pattern(reference):
        check_fields(reference, ("study",))
        known = {study.name: filled(reference, study.name) for study in found.studies}
        masks = {name: path for name, path in known.items() if path.exists()}
        hint = ""
    elif reference.is_dir():
        there = images_in(reference)
        if not there and is_dicom(reference):
            return _drawn(found, reference)
        masks = _by_name(found.studies, there, reference)
        hint = _near(found.studies, masks, there, reference)
    else:
        return _only(found, reference)
    if not masks:
        raise InputError(
            "E_NO_INPUT", f"no mask belongs to {_counted(found.studies)}{hint}", reference
        )
    return _joined(found, masks, hint)


def _drawn(found: Found, folder: Path) -> Found:
    """The masks that a tree of DICOM holds, by the series that they were drawn on."""
    drawn = drawn_for(folder, found.studies)
    several = {name: paths for name, paths in drawn.items() if len(paths) > 1}
    if several:
        name, paths = next(iter(several.items()))
        raise InputError(
            "E_NO_INPUT",
            f"{len(paths)} drawings belong to {name} ({some(path.name for path in paths)}); name"
            " one of them",
            folder,
        )
    if not drawn:
        raise InputError(
            "E_NO_INPUT",
            f"no SEG or RTSTRUCT was drawn on the series of {_counted(found.studies)}",
            folder,
        )
    return _joined(found, {name: paths[0] for name, paths in drawn.items()}, "")


def _only(found: Found, reference: Path) -> Found:
    if not reference.is_file() or (stem(reference) is None and not is_dicom(reference)):
        above = reference.parent
        there = f"; look at {above}: {holdings(above)}" if above.is_dir() else ""
        raise InputError("E_NO_INPUT", f"there is no such mask or folder{there}", reference)
    if len(found.studies) != 1:
        raise InputError(
            "E_NO_INPUT",
            f"one mask, and {_counted(found.studies)}; name a folder or a pattern",
            reference,
        )
    return _joined(found, {found.studies[0].name: reference}, "")


def _by_name(
    studies: Sequence[Study], there: Sequence[tuple[str, Path]], folder: Path
) -> dict[str, Path]:
    """Masks of the studies' own names, or of the ids that medseg gave to such names."""
    known: dict[str, Path] = {}
    for name, path in there:
        if normal(name) in known:
            twin = known[normal(name)].name
            raise InputError(
                "E_DUPLICATE_ID", f"{some([twin])} and {some([path.name])} are one name", folder
            )
        known[normal(name)] = path
    masks: dict[str, Path] = {}
    for study in studies:
        for name in (study.name, id_of(study.name)):
            if normal(name) in known:
                masks.setdefault(study.name, known[normal(name)])
    return masks


def _near(
    studies: Sequence[Study],
    masks: Mapping[str, Path],
    there: Sequence[tuple[str, Path]],
    folder: Path,
) -> str:
    """What the mask of a study without one may be called."""
    without = [study.name for study in studies if study.name not in masks]
    if not without:
        return ""
    if not there:
        return f"; {holdings(folder)}"
    for name in without:
        longer = [other for other, _ in there if name in other]
        if longer:
            path = dict(there)[longer[0]]
            return f"; try {folder / path.name.replace(name, '{study}')}"
    close = get_close_matches(without[0], [name for name, _ in there], n=1)
    if close:
        return f"; did you mean {some([dict(there)[close[0]].name])} for {some(without[:1])}?"
    return f"; there is {some(path.name for _, path in there)}"


def _joined(found: Found, masks: Mapping[str, Path], hint: str) -> Found:
    # Where scans and masks share a folder, a mask is no study.
    taken = {os.path.realpath(path) for path in masks.values()}
    studies = [s for s in found.studies if os.path.realpath(s.images[0]) not in taken]
    if not studies:
        # Masks that are compared with themselves are meant to be studies.
        studies = list(found.studies)
    notes = list(found.notes)
    dropped = len(found.studies) - len(studies)
    if dropped:
        notes.append(f"{dropped} of the files here are reference masks and no studies")
    without = [study.name for study in studies if study.name not in masks]
    if without:
        have = "study has" if len(without) == 1 else "studies have"
        notes.append(f"{len(without)} {have} no reference: {some(without)}{hint}")
    joined = [replace(study, reference=masks.get(study.name)) for study in studies]
    return replace(found, studies=tuple(joined), notes=tuple(notes))


def _counted(studies: Sequence[Study]) -> str:
    count = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{count} ({some(study.name for study in studies)})"
