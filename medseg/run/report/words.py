"""Metrics and numbers as a reader is told them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NONE = "–"
_TITLES = {"dice": "Dice", "iou": "IoU", "hd": "HD", "hd95": "HD95", "assd": "ASSD", "msd": "MSD"}
_TITLES |= {"nsd": "NSD", "ece": "ECE", "brier": "Brier score"}
_LENGTHS = ("hd", "hd95", "assd", "msd", "centroid")
_UNITS = {"ml": "ml", "percent": "%"}
_TOLERANCE = re.compile(r"^(\d+(?:\.\d+)?)mm$")


def metric_label(metric: str) -> str:
    """How a result is called: ``nsd_1mm_surfels`` is NSD at 1 mm, ``hd95_border`` HD95 (border).

    Surfels are the usual surface and are not named.
    """
    first, *rest = metric.split("_")
    told, more = [_TITLES.get(first, first)], []
    unit = "mm" if first in _LENGTHS else ""
    for word in rest:
        tolerance = _TOLERANCE.match(word)
        if word == "surfels":
            continue
        if word == "border":
            more.append("(border)")
        elif tolerance:
            told.append(f"at {tolerance[1]} mm")
        elif word in _UNITS:
            unit = _UNITS[word]
        else:
            told.append(word)
    said = " ".join([*told, *more])
    return f"{said}, {unit}" if unit else said


def paired(pair: Mapping[str, Any]) -> str:
    """Whose masks were compared: ``model – reader_a``, ``model – majority``."""
    return f"{pair['one']} – {pair['other'].removeprefix('consensus_')}"


def safe(name: str) -> str:
    """A name as it may stand in a path and in a link."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]


def short(name: str, most: int = 24) -> str:
    """A name that does not crowd out a figure."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def intensity(value: float) -> str:
    """A grey value with as many digits as tell it apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def number(value: float | None, digits: int = 3) -> str:
    """A value as it is shown; a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"
