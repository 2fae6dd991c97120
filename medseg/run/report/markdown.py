"""report.md: the tables and figures of a cohort as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from medseg.run.report import telling
from medseg.run.report.gathering import Gathered
from medseg.run.report.plots import Drawing


def markdown(found: Gathered, head: dict[str, Any], drawings: Sequence[Drawing]) -> str:
    """The report as Markdown; names are escaped, so that they stay text."""
    parts = [f"# {plain(head['title'])}", f"**Intended use.** {head['intended_use']}"]
    parts.append(f"{head['summary']}")
    columns = ("run", "label", "metric", "mean", "low", "high", "median", "sd", "n", "undefined")
    if rows := telling.statistics(found):
        parts += ["## Results", f"The interval is the {head['interval']}.", table(columns, rows)]
    if rows := telling.differences(found):
        columns = ("pair", "metric", "label", "n", "mean", "low", "high", "p")
        parts += ["## Runs compared", table(columns, rows)]
    if rows := telling.agreement(found):
        columns = ("run", "label", "n", "bias", "low", "high", "icc", "icc_low", "icc_high")
        parts += ["## Volumes, ml", table(columns, rows)]
    parts += [f"![{plain(one.caption)}](figures/{one.stem}.svg)" for one in drawings]
    rows = [
        {
            "study": study,
            **dict(zip(_headings(found), _texts(found, study), strict=True)),
            "flags": ", ".join(one["full"] for one in telling.flags(found, study)),
        }
        for study in found.studies
    ]
    parts += ["## Studies, worst first", table(list(rows[0]), rows)]
    parts += ["## Definitions", *(f"- **{plain(n)}**: {plain(' '.join(t))}" for n, t in
                                  telling.definitions(found))]  # fmt: skip
    parts += ["## Provenance", *(f"- {plain(k)}: {plain(v)}" for k, v in head["provenance"])]
    return "\n\n".join(parts) + "\n"


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
