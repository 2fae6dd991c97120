"""report.md: the tables and figures of a cohort as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from medseg.run.report import results, telling
from medseg.run.report.canvas import Drawing
from medseg.run.report.gathering import Gathered

_RESULT = ("run", "label", "metric", "mean", "low", "high", "median", "sd", "n", "undefined")
_PAIR = ("pair", "metric", "label", "n", "mean", "low", "high", "p")
_VOLUME = ("run", "label", "n", "bias", "low", "high", "icc", "icc_low", "icc_high")


def markdown(found: Gathered, head: dict[str, Any], drawings: Sequence[Drawing]) -> str:
    """The report as Markdown; names are escaped, so that they stay text."""
    parts = [f"# {plain(head['title'])}", f"**Intended use.** {head['intended_use']}"]
    parts.append(plain(head["summary"]))
    if rows := results.statistics(found):
        parts += ["## Results", f"low and high are the {head['interval']}.", table(_RESULT, rows)]
    if rows := results.differences(found):
        parts += ["## Runs compared", table(_PAIR, rows)]
    if rows := results.agreement(found):
        parts += ["## Volumes, ml", table(_VOLUME, rows)]
    if rows := results.readers(found):
        parts += ["## Among the readers", table(tuple(rows[0]), rows)]
        parts.append(table(("pair", "label", "metric", "n", "mean", "low", "high"),
                           results.reader_pairs(found)))  # fmt: skip
    if rows := results.subgroups(found):
        parts += ["## Subgroups", table(tuple(rows[0]), rows)]
    if rows := results.calibration(found):
        parts += ["## Calibration", table(tuple(rows[0]), rows)]
    parts += [f"![{plain(one.caption)}](figures/{one.stem}.svg)" for one in drawings]
    studies = [_study(found, study) for study in found.studies]
    parts += ["## Studies, worst first", table(list(studies[0]), studies)]
    told = (f"- **{plain(name)}**: {plain(text)}" for name, text in results.definitions(found))
    parts += ["## Definitions", *told]
    parts += ["## Provenance", *(f"- {plain(k)}: {plain(v)}" for k, v in head["provenance"])]
    return "\n\n".join(parts) + "\n"


def _study(found: Gathered, study: str) -> dict[str, Any]:
    flags = ", ".join(one["full"] for one in telling.flags(found, study))
    return {
        "study": study,
        **dict(zip(_headings(found), _texts(found, study), strict=True)),
        "flags": flags,
    }


def _headings(found: Gathered) -> list[str]:
    names = telling.headings(found)
    return [f"{run.name}: {name}" if run.name else name for run in found.runs for name in names]


def _texts(found: Gathered, study: str) -> list[str]:
    return [cell.text for cell in telling.cells(found, study)]


def table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """A table of some columns; a column that says nothing is left out."""
    known = list(rows)
    kept = [name for name in columns if any(str(row[name]) for row in known)]
    lines = [" | ".join(map(plain, kept)), " | ".join("---" for _ in kept)]
    lines += [" | ".join(plain(row[name]) for name in kept) for row in known]
    return "\n".join(f"| {line} |" for line in lines)


def plain(value: Any) -> str:
    """Text that Markdown shows as it is."""
    one = re.sub(r"\s+", " ", str(value))
    escaped = re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", one)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
