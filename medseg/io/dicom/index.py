"""A folder or tree of mixed files, told apart by their headers alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medseg.errors import StudyError
from medseg.image.study import Stack
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.header import SCANS, Header, read_header
from medseg.io.dicom.package import understood
from medseg.io.dicom.stacks import Pile, piles
from medseg.io.dicom.values import text_of
from medseg.io.options import SeriesRule

_PREAMBLE = 132
_DIRECTORY = "1.2.840.10008.1.3.10"
_NOT_SCANS = {
    "1.2.840.10008.5.1.4.1.1.481.2": "is a dose, not a scan",
    "1.2.840.10008.5.1.4.1.1.481.5": "is a plan, not a scan",
    "1.2.840.10008.5.1.4.1.1.66.1": "is a registration, not a scan",
    "1.2.840.10008.5.1.4.1.1.66.5": "is a surface, not a scan",
    "1.2.840.10008.5.1.4.1.1.104.1": "is a PDF document, not a scan",
    _DIRECTORY: "is a DICOMDIR, which is not needed",
}


@dataclass(frozen=True)
class Aside:
    """A file that is part of no scan, and why."""

    path: Path
    reason: str
    damaged: bool = False
    """Whether it may have been part of one."""


@dataclass(frozen=True)
class Drawing:
    """A SEG or RTSTRUCT, and the series that it was drawn on."""

    header: Header
    drawn_on: frozenset[str]


@dataclass(frozen=True)
class Index:
    """What a tree holds: stacks of slices, what was drawn on them, and what was set aside."""

    root: Path
    piles: tuple[Pile, ...]
    drawings: tuple[Drawing, ...]
    aside: tuple[Aside, ...]

    def chosen(self, rule: SeriesRule | None) -> tuple[Pile, ...]:
        """The stacks that a rule fits; all of them without one."""
        return tuple(pile for pile in self.piles if rule is None or fits(pile, rule))


def fits(pile: Pile, rule: SeriesRule) -> bool:
    """Whether a stack is of the series that a rule means."""
    words = {word for plane in pile.planes for word in plane.words}
    asked = (
        (rule.modality, lambda want: want.upper() == pile.header.modality),
        (rule.description, lambda want: want.casefold() in pile.header.description.casefold()),
        (rule.number, lambda want: want == pile.header.number),
        (rule.uid, lambda want: want == pile.header.series),
        (rule.image_type, lambda want: want.upper() in words),
        (rule.stack, lambda want: want == pile.place),
    )
    return all(want is None or says(want) for want, says in asked)


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with its preamble or without."""
    try:
        if not path.is_file():
            return False  # a pipe would be waited for without end
        with path.open("rb") as file:
            head = file.read(_PREAMBLE)
    except OSError:
        return False
    if head[128:] == b"DICM":
        return True
    # Without a preamble: an element of group 2 or 8 with a small number, and its length.
    return len(head) >= 8 and head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"


def holds_dicom(folder: Path) -> bool:
    """Whether there is a DICOM file in a tree, or what may be one."""
    return any(looks_like_dicom(path) for path in _files(folder))


def index_of(where: Path | Iterable[Path]) -> Index:
    """Read the headers of a file, of all files of a tree, or of a list of files.

    Files that are no DICOM are set aside, and so are those that hold no scan.
    """
    root = where if isinstance(where, Path) else Path()
    images, drawings, aside = [], [], []
    for path in _files(where) if isinstance(where, Path) else where:
        if not looks_like_dicom(path):
            aside.append(Aside(path, "is no DICOM file"))
            continue
        try:
            header = read_header(path)
        except StudyError as error:
            aside.append(Aside(path, error.message, damaged=True))
            continue
        if header.kind == "image":
            images.append(header)
        elif header.kind == "other":
            aside.append(_other(header))
        else:
            drawings.append(Drawing(header, drawn_on(path)))
    found, more = piles(images)
    return Index(root, found, tuple(drawings), (*aside, *(Aside(*one) for one in more)))


def drawn_on(path: Path) -> frozenset[str]:
    """The series that a SEG or an RTSTRUCT names as what it was drawn on."""
    names = ("ReferencedFrameOfReferenceSequence", "ReferencedSeriesSequence")
    try:
        found = read_dataset(path, names)
        with understood(path):
            series = list(found.get("ReferencedSeriesSequence") or ())
            for frame in found.get("ReferencedFrameOfReferenceSequence") or ():
                for study in frame.get("RTReferencedStudySequence") or ():
                    series += list(study.get("RTReferencedSeriesSequence") or ())
            return frozenset(text_of(one, "SeriesInstanceUID") for one in series) - {""}
    except StudyError:
        return frozenset()


def stack_of(pile: Pile) -> Stack:
    """A pile as a study's image."""
    slices = tuple((plane.path, plane.frame) for plane in pile.planes)
    folder = Path(os.path.commonpath([path.parent for path, _ in slices]))
    return Stack(folder, slices, pile.header.series)


def id_of_pile(pile: Pile) -> str:
    """A study's id: the modality and a digest of the series' number, nothing of the patient."""
    digest = mark_of(pile.header.series, pile.place)
    letters = "".join(c for c in pile.header.modality.lower() if c.isascii() and c.isalnum())
    return f"{letters[:4] or 'series'}-{digest}"


def mark_of(series: str, place: int) -> str:
    """What tells one stack from all others, and says nothing of it."""
    return sha256(f"{series} {place}".encode()).hexdigest()[:10]


def _other(header: Header) -> Aside:
    if header.sop_class in SCANS:
        return Aside(header.path, "ends within its header", damaged=True)
    known = _NOT_SCANS.get(header.sop_class)
    if known is None and not header.sop_class:
        return Aside(header.path, "is no DICOM file, or one without a SOP class")
    return Aside(header.path, known or "holds no image")


def _files(where: Path) -> Iterator[Path]:
    """The regular files of a tree by their names; links to folders are not followed."""
    if not where.is_dir():
        yield where
        return
    for folder, folders, names in os.walk(where):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path
