"""A CSV or TSV table of studies."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from medseg.errors import InputError
from medseg.image.study import Stack, Study
from medseg.io.layouts_dicom import stacks_of
from medseg.io.layouts_files import Found

_OF_SERIES = re.compile(r"[a-z0-9]{1,6}-[0-9a-f]{10}")
_RISKY = ("'=", "'+", "'-", "'@")


def from_manifest(path: Path, channels: Sequence[str]) -> Found:
    """Studies of a table with the columns study, image or one a channel, and reference.

    Other columns become the studies' attributes. Paths are relative to the table. A study that
    has a DICOM series' own id is that series of its folder, whatever else lies there.
    """
    rows = _rows(path)
    columns = [name.strip() for name in rows[0][1]] if rows else []
    wanted = ["study", *_image_columns(columns, channels)]
    missing = [name for name in wanted if name not in columns]
    if missing or len(set(columns)) != len(columns):
        fault = f"has no column {', '.join(missing)}" if missing else "names a column twice"
        raise InputError(
            "E_NO_INPUT",
            f"{fault}; wanted are {', '.join(wanted)} and, if there are masks, reference; it has"
            f" {', '.join(columns) or 'no header'}",
            path,
        )
    studies = [_study(path, line, columns, row, wanted) for line, row in rows[1:]]
    if not studies:
        raise InputError("E_NO_INPUT", "has a header and no study below it", path)
    return Found("manifest", tuple(_with_series(studies)))


def study_attributes(path: Path) -> dict[str, Mapping[str, str]]:
    """The columns of a table by study: what is known of each besides its images.

    Raises InputError E_NO_INPUT where it is no table with a column study, and E_DUPLICATE_ID
    where a study has two rows.
    """
    rows = _rows(path)
    columns = [name.strip() for name in rows[0][1]] if rows else []
    if "study" not in columns:
        raise InputError(
            "E_NO_INPUT", f"has no column study; it has {', '.join(columns) or 'no header'}", path
        )
    found: dict[str, Mapping[str, str]] = {}
    for _, row in rows[1:]:
        cells = {name: _cell(value) for name, value in zip(columns, row, strict=False)}
        name = cells.pop("study")
        if name in found:
            raise InputError("E_DUPLICATE_ID", f"has two rows for {name}", path)
        found[name] = MappingProxyType(cells)
    return found


def _image_columns(columns: Sequence[str], channels: Sequence[str]) -> list[str]:
    if len(channels) == 1 and channels[0] not in columns:
        return ["image"]
    return list(channels)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("E_NO_INPUT", f"is not a readable table ({error})", path) from None
    head = text.partition("\n")[0]
    # Spreadsheets of half of Europe part the columns of a .csv by semicolons.
    parted = max("\t;,", key=head.count) if path.suffix.lower() == ".csv" else "\t"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=parted)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError("E_NO_INPUT", f"line {reader.line_num}: {error}", path) from None


def _study(
    path: Path, line: int, columns: Sequence[str], row: Sequence[str], wanted: Sequence[str]
) -> Study:
    if len(row) > len(columns):
        raise InputError(
            "E_NO_INPUT", f"line {line} has {len(row)} cells for {len(columns)} columns", path
        )
    cells = {name: _cell(value) for name, value in zip(columns, row, strict=False)}
    empty = [name for name in wanted if not cells.get(name)]
    if empty:
        raise InputError("E_NO_INPUT", f"line {line} says nothing for {', '.join(empty)}", path)
    images = tuple(path.parent / cells[name] for name in wanted[1:])
    mask = cells.get("reference")
    return Study(cells["study"], images, path.parent / mask if mask else None, _rest(cells, wanted))


def _with_series(studies: Sequence[Study]) -> Iterator[Study]:
    """Studies by the ids that a tree of DICOM gives, each with its own slices of its folder."""
    known: dict[Path, Mapping[str, Stack]] = {}
    for study in studies:
        image = study.images[0]
        if isinstance(image, Path) and _OF_SERIES.fullmatch(study.name) and image.is_dir():
            if image not in known:
                known[image] = stacks_of(image)
            own = known[image].get(study.name, image)
            yield replace(study, images=(own, *study.images[1:]))
        else:
            yield study


def _cell(value: str) -> str:
    text = value.strip()
    # The apostrophe that keeps a spreadsheet from taking a text for a formula.
    return text[1:] if text.startswith(_RISKY) else text


def _rest(cells: Mapping[str, str], wanted: Sequence[str]) -> Mapping[str, str]:
    known = {*wanted, "reference"}
    return MappingProxyType({name: value for name, value in cells.items() if name not in known})
