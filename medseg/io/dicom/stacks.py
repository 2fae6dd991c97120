"""Slices to stacks: what of one series lies behind each other in one direction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.io.dicom.header import Header, Plane

_SAME_MM = 1e-3
_TURN = 1e-3
_SPLITS = (
    *("stack", "echo", "echo number", "inversion", "b-value", "phase", "trigger"),
    *("image type", "acquisition"),
)


@dataclass(frozen=True)
class Pile:
    """The slices of one stack as they were found, and a header that stands for all of them.

    ``place`` counts the stacks of a series from 1, ``traits`` says what keeps them apart.
    """

    header: Header
    headers: tuple[Header, ...]
    planes: tuple[Plane, ...]
    place: int = 1
    of: int = 1
    traits: str = ""


def piles(headers: Iterable[Header]) -> tuple[tuple[Pile, ...], list[tuple[Path, str]]]:
    """The stacks of all series, and the slices that were set aside with the reason.

    A series is parted by orientation, size and pixel spacing, and where slices would still lie at
    one place, by the first of echo, phase, image type and acquisition that keeps them apart.
    """
    series: dict[tuple[str, str], list[Header]] = defaultdict(list)
    aside: list[tuple[Path, str]] = []
    for header in headers:
        series[header.study, header.series].append(header)
    found: list[Pile] = []
    for group in series.values():
        kept, left = _without_localizers(group)
        aside += [(path, "is a localizer") for path in left]
        found += _numbered(_of_series(kept)) if kept else []
    return tuple(found), aside


def along_normal(planes: Sequence[Plane]) -> list[float] | None:
    """Each slice's place along the common normal in mm, or None where that is not known."""
    first = planes[0].orientation
    if first is None or any(plane.position is None for plane in planes):
        return None
    normal = np.cross(first[:3], first[3:])
    places: list[float] = (np.array([plane.position for plane in planes]) @ normal).tolist()
    return places


def _without_localizers(group: list[Header]) -> tuple[list[Header], list[Path]]:
    scouts = [h for h in group if all("LOCALIZER" in plane.words for plane in h.planes)]
    return [one for one in group if one not in scouts], [one.path for one in scouts]


def _of_series(headers: list[Header]) -> list[Pile]:
    by_file = {header.path: header for header in headers}
    coarse: list[tuple[tuple[Any, ...], list[Plane]]] = []
    for header in headers:
        for plane in header.planes:
            mark = (header.rows, header.columns, plane.spacing, plane.orientation)
            home = next((group for known, group in coarse if _alike(known, mark)), None)
            if home is None:
                coarse.append((mark, [plane]))
            else:
                home.append(plane)
    found = []
    for _, planes in coarse:
        for traits, part in _parted(planes):
            mine = tuple({p.path: by_file[p.path] for p in part}.values())
            found.append(Pile(mine[0], mine, tuple(part), traits=traits))
    return found


def _alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if one[:2] != other[:2] or None in (*one[2:], *other[2:]):
        return one == other
    return bool(
        np.allclose(one[2], other[2], rtol=_TURN, atol=0)
        and np.allclose(one[3], other[3], rtol=0, atol=_TURN)
    )


def _parted(planes: list[Plane]) -> list[tuple[str, list[Plane]]]:
    """The group as it is, or parted by what keeps slices at one place from each other."""
    if _apart(planes):
        return [("", planes)]
    for name in _SPLITS:
        parts: dict[Any, list[Plane]] = defaultdict(list)
        for plane in planes:
            parts[plane.traits.get(name)].append(plane)
        if len(parts) < 2:
            continue
        order = sorted(parts, key=lambda value: (value is None, str(type(value)), value or 0))
        inner = [
            (f"{name} {value}{', ' if more else ''}{more}", rest)
            for value in order
            for more, rest in _parted(parts[value])
        ]
        if all(len(part) > 1 and _apart(part) for _, part in inner):
            return inner
    return [("", planes)]


def _apart(planes: Sequence[Plane]) -> bool:
    """Whether no two slices lie at one place (or places are not known at all)."""
    places = along_normal(planes)
    if places is None:
        return True
    return bool((np.diff(np.sort(places)) > _SAME_MM).all())


def _numbered(found: list[Pile]) -> list[Pile]:
    return [replace(pile, place=n, of=len(found)) for n, pile in enumerate(found, 1)]
