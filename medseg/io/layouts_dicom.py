"""Folders and trees of DICOM: every patient's visit is looked through, each series is one study."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

from medseg.errors import InputError
from medseg.image.study import Stack, Study
from medseg.io.dicom.drawings import names_in
from medseg.io.dicom.index import (
    Drawing,
    Index,
    holds_dicom,
    id_of_pile,
    index_of,
    mark_of,
    stack_of,
)
from medseg.io.dicom.series import described
from medseg.io.dicom.stacks import Pile
from medseg.io.layouts_files import Found, printable, some
from medseg.io.options import SeriesRule

Wanted = SeriesRule | Literal["each"] | None


def is_dicom(where: Path) -> bool:
    """Whether a file is DICOM, or a tree holds any."""
    return holds_dicom(where)


def dicom(where: Path, channels: Sequence[str], series: Wanted) -> Found:
    """A study for the one series of each visit that is meant, or for each series.

    A visit is what DICOM calls a study. Where several of its series are meant, the study that
    stands for them fails when it is read, and says which there are. Ids are made of digests and
    never of names.
    """
    if len(channels) > 1:
        raise InputError(
            "E_NO_INPUT",
            f"DICOM series are studies of one channel, and {len(channels)} are wanted"
            f" ({', '.join(channels)}); a pattern such as {where / '{study}' / '{channel}'} names"
            " folders of series",
            where,
        )
    index = index_of(where)
    rule = None if series == "each" else series
    studies, piles, left = [], {}, []
    for visit in _visits(index).values():
        chosen = [pile for pile in visit if pile in index.chosen(rule)]
        left += [pile for pile in visit if pile not in chosen]
        for group in [[pile] for pile in chosen] if series == "each" else [chosen]:
            if group:
                study = _study(index, group)
                studies.append(study)
                piles[study.name] = tuple(group)
    if not studies:
        raise InputError("E_NO_INPUT", _nothing(index), where)
    said = {name: "; ".join(map(_told, group)) for name, group in piles.items()}
    return Found("DICOM", tuple(studies), tuple(_notes(index, studies, left)), said, piles)


def descriptions(where: Path) -> Mapping[str, str]:
    """What the series of a tree are called by whoever scanned them, by the studies' ids.

    Free text, in which anything may stand: shown only to those who ask for it.
    """
    index = index_of(where)
    found = {id_of_pile(pile): printable(pile.header.description) for pile in index.piles}
    for drawing in index.drawings:
        path = drawing.header.path
        names = ", ".join(names_in(path))
        place = path.relative_to(where) if path != where else path.name
        found[str(place)] = printable(f"{drawing.header.description}: {names}")
    return found


def stacks_of(folder: Path) -> Mapping[str, Stack]:
    """The stacks of a tree by the ids that they have as studies."""
    return {id_of_pile(pile): stack_of(pile) for pile in index_of(folder).piles}


def drawn_for(folder: Path, studies: Sequence[Study]) -> dict[str, list[Path]]:
    """The SEG and RTSTRUCT files of a tree that were drawn on studies' series, by their names."""
    drawings = index_of(folder).drawings
    found = {}
    for study in studies:
        image = study.images[0]
        if isinstance(image, Stack):
            mine = _drawn_on(drawings, image.series)
        else:
            # A mask that was made of a series has the name that the series had as a study.
            mine = [d.header.path for d in drawings if _named_after(study.name, d.drawn_on)]
        if mine:
            found[study.name] = mine
    return found


def _named_after(name: str, series: Iterable[str]) -> bool:
    return any(name.endswith(f"-{mark_of(one, 1)}") for one in series)


def _visits(index: Index) -> dict[str, list[Pile]]:
    visits: dict[str, list[Pile]] = defaultdict(list)
    for pile in index.piles:
        visits[pile.header.study].append(pile)
    return visits


def _study(index: Index, piles: Sequence[Pile]) -> Study:
    if len(piles) == 1:
        stack = stack_of(piles[0])
        drawn = _drawn_on(index.drawings, stack.series)
        return Study(id_of_pile(piles[0]), (stack,), drawn[0] if len(drawn) == 1 else None)
    slices = tuple(slice_ for pile in piles for slice_ in stack_of(pile).slices)
    mark = sha256(piles[0].header.study.encode()).hexdigest()[:10]
    folders = {path.parent for path, _ in slices}
    folder = folders.pop() if len(folders) == 1 else index.root
    return Study(f"visit-{mark}", (Stack(folder, slices, ""),))


def _drawn_on(drawings: Sequence[Drawing], series: str) -> list[Path]:
    return [one.header.path for one in drawings if series and series in one.drawn_on]


def _told(pile: Pile) -> str:
    traits = f", {printable(pile.traits)}" if pile.traits else ""
    return described(pile) + traits


def _nothing(index: Index) -> str:
    if index.piles:
        return (
            f"none of {len(index.piles)} DICOM series is what input.series asks for:"
            f" {some(described(pile) for pile in index.piles)}"
        )
    return f"holds DICOM files and no scan among them; {'; '.join(_reasons(index))}"


def _reasons(index: Index) -> list[str]:
    counts = Counter(one.reason for one in index.aside)
    examples = {one.reason: one.path.name for one in index.aside}
    return [
        f"set aside: {_counted(count, examples[reason])} {reason}"
        for reason, count in sorted(counts.items())
    ]


def _counted(count: int, name: str) -> str:
    return printable(name) if count == 1 else f"{count} files, such as {printable(name)}: each"


def _notes(index: Index, studies: Sequence[Study], left: Sequence[Pile]) -> list[str]:
    notes = _reasons(index)
    if left:
        notes.append(f"not meant by input.series: {some(map(described, left))}")
    for study in studies:
        image = study.images[0]
        drawn = _drawn_on(index.drawings, image.series) if isinstance(image, Stack) else []
        if len(drawn) > 1:
            notes.append(
                f"{study.name} has {len(drawn)} drawings ({some(path.name for path in drawn)})"
                " and none was taken; say which by 'reference'"
            )
    return notes
