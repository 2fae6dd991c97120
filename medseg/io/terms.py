"""What structures are called, coded and coloured: a table of organs and lesions in SNOMED CT.

Codes are those of DICOM's context groups (PS3.16), and for single ribs and muscles, which these do
not name, SNOMED CT's own. A label finds its term by its name, with ``left`` or ``right`` before,
within or after it, or says a code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from medseg.image import Label

Kind = Literal["structure", "lesion"]
_ALSO = {
    "tumour": "tumor",
    "gtv": "gross_tumor_volume",
    "oesophagus": "esophagus",
    "oedema": "edema",
    "hemorrhage": "haemorrhage",
    "hematoma": "haematoma",
    "bladder": "urinary_bladder",
    "thyroid": "thyroid_gland",
    "clavicle": "clavicula",
    "parotid": "parotid_gland",
    "pituitary": "pituitary_gland",
    "iliac_vena": "iliac_vein",
    "vena_cava_inferior": "inferior_vena_cava",
    "metastases": "metastasis",
}
SIDES: Mapping[str, tuple[str, str]] = {
    "left": ("SCT:7771000", "Left"),
    "right": ("SCT:24028007", "Right"),
}
CATEGORIES: Mapping[str, tuple[str, str]] = {
    "structure": ("SCT:91723000", "Anatomical Structure"),
    "lesion": ("SCT:49755003", "Morphologically Abnormal Structure"),
    "tissue": ("SCT:85756007", "Tissue"),
}
_CODE = re.compile(r"([A-Za-z0-9_]{1,16})[:|]([A-Za-z0-9.^-]{1,16})")


@dataclass(frozen=True)
class Term:
    """A structure: its plain name, its code such as SCT:10200004, and its colour #rrggbb.

    ``side`` is left or right where it is a structure of one side, ``each`` where there are two.
    """

    name: str
    kind: Kind
    code: str
    meaning: str
    side: str
    colour: str


@dataclass(frozen=True)
class Coded:
    """How DICOM says what a segment is: (code, meaning) of category, type and side."""

    category: tuple[str, str]
    type: tuple[str, str]
    side: tuple[str, str] | None = None


@cache
def terms() -> Mapping[str, Term]:
    """The table, by name."""
    text = files("medseg.io").joinpath("terms.tsv").read_text("utf-8")
    found = {}
    for line in text.splitlines()[1:]:
        name, kind, code, meaning, side, colour = line.split("\t")
        known: Kind = "lesion" if kind == "lesion" else "structure"
        found[name.casefold()] = Term(name, known, code, meaning, side, colour)
    return found


def term_of(name: str) -> tuple[Term, str] | None:
    """The term that a label's name means, and its side or an empty text; None where it has none."""
    plain = "_".join(re.findall(r"[a-z0-9]+", name.casefold()))
    term = terms().get(_ALSO.get(plain, plain))
    if term is not None:
        return term, term.side if term.side in SIDES else ""
    for side in SIDES:
        bare = f"_{plain}_".replace(f"_{side}_", "_", 1).strip("_")
        term = terms().get(_ALSO.get(bare, bare))
        if bare != plain and term is not None and term.side == "each":
            return term, side
    return None


def coded(label: Label) -> Coded:
    """The codes of a label: its own, else those of its name, else those of any tissue."""
    found = term_of(label.name)
    by_code = {term.code: term for term in terms().values()}
    if label.code is not None:
        term = by_code.get(label.code.replace("|", ":"))
        if found is not None and term is not None and found[0].code == term.code:
            term = found[0]
        kind = term.kind if term is not None else "structure"
        meaning = term.meaning if term is not None else label.name
        side = SIDES.get(found[1]) if found is not None else None
        return Coded(CATEGORIES[kind], (label.code, meaning), side)
    if found is None:
        return Coded(CATEGORIES["tissue"], CATEGORIES["tissue"])
    term, named = found
    return Coded(CATEGORIES[term.kind], (term.code, term.meaning), SIDES.get(named))


def parted(code: str) -> tuple[str, str] | None:
    """Scheme and value of a code such as SCT:10200004; None where it is written otherwise."""
    match = _CODE.fullmatch(code)
    return (match[1], match[2]) if match else None


def colour_of(label: Label, place: int) -> str:
    """A label's colour: its own, its term's, or one by its place in the table."""
    if label.colour is not None:
        return label.colour.lower()
    found = term_of(label.name)
    if found is not None:
        return found[0].colour
    return _PALETTE[place % len(_PALETTE)]


def rgb(colour: str) -> tuple[int, int, int]:
    """#rrggbb as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


_PALETTE = (
    *("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6"),
    *("#bfef45", "#fabed4", "#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3"),
)
