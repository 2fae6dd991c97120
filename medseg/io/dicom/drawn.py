"""Which of a drawing's structures is which label, and structures to one mask."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid, Label, LabelMap, Labels, mask_dtype

Masked = NDArray[np.bool_]


@dataclass(frozen=True)
class Structure:
    """A contour set or a segment: its number, what it is called, and its code or an empty text."""

    number: int
    name: str
    code: str = ""


def labels_of(structures: Sequence[Structure]) -> Labels:
    """A table of all structures, by their own names where no two are the same.

    Raises StudyError E_LABEL_VALUES where there are none.
    """
    names = [one.name for one in structures]
    if not structures:
        raise StudyError("E_LABEL_VALUES", "holds no structure")
    return Labels(
        tuple(
            Label(
                one.name if one.name and names.count(one.name) == 1 else f"structure {one.number}",
                (one.number,),
                code=one.code or None,
            )
            for one in structures
        )
    )


def matched(
    labels: Labels, structures: Sequence[Structure], rois: Mapping[str, str]
) -> tuple[dict[str, Structure], tuple[Caution, ...]]:
    """The structure of each label that has one: as ``rois`` says, by its name, or by its code.

    A drawing of one structure is that of the only label. Raises StudyError E_LABEL_VALUES where
    no label has a structure, or one that ``rois`` names is not there; names are not told.
    """
    found: dict[str, Structure] = {}
    for label in labels:
        wanted = rois.get(label.name)
        mine = _of(label, structures, wanted)
        if wanted is not None and mine is None:
            raise StudyError(
                "E_LABEL_VALUES",
                f"none of its {len(structures)} structures has the name that input.rois gives for"
                f" {label.name!r}; medseg ls --descriptions shows their names",
            )
        if mine is not None:
            found[label.name] = mine
    if not found and len(structures) == len(labels) == 1:
        found[labels.names[0]] = structures[0]
    if not found:
        raise StudyError(
            "E_LABEL_VALUES",
            f"none of its {len(structures)} structures is called as a label is"
            f" ({', '.join(labels.names)}); name them by input: {{rois: {{{labels.names[0]}: ...}}"
            "}; medseg ls --descriptions shows their names",
        )
    absent = [name for name in labels.names if name not in found]
    if not absent:
        return found, ()
    told = f"no structure is drawn for {', '.join(absent)}; they are taken to be empty"
    return found, (Caution("W_LABEL_ABSENT", told),)


def together(
    grid: Grid, labels: Labels, found: Mapping[str, Structure], mask_of: Callable[[int], Masked]
) -> tuple[LabelMap, tuple[Caution, ...]]:
    """One mask of several structures; where exclusive labels overlap, the later one is taken."""
    data = np.zeros(grid.shape, mask_dtype(labels), order="F")
    values = labels.painted if not labels.exclusive else [label.values[0] for label in labels]
    twice = 0
    for label, value in zip(labels, values, strict=True):
        if label.name in found:
            inside = mask_of(found[label.name].number)
            twice += int(np.count_nonzero(data[inside])) if labels.exclusive else 0
            data[inside] = value
    cautions: tuple[Caution, ...] = ()
    if twice:
        told = f"{twice} voxels are in two structures; the later label was taken"
        cautions = (Caution("W_LABEL_OVERLAP", told),)
    return LabelMap(data, grid, labels), cautions


def _of(label: Label, structures: Sequence[Structure], wanted: str | None) -> Structure | None:
    name = label.name if wanted is None else wanted
    exact = [one for one in structures if one.name == name]
    alike = [one for one in structures if _plain(one.name) == _plain(name) != ""]
    coded = [one for one in structures if one.code and one.code == label.code and wanted is None]
    for group in (exact, alike, coded):
        if len(group) == 1:
            return group[0]
        if group:
            raise StudyError(
                "E_LABEL_VALUES",
                f"{len(group)} of its structures could be {label.name!r}; name one by input.rois",
            )
    return None


def _plain(name: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", name.casefold()))
