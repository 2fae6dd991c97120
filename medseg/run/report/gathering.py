"""What an output folder says: its runs, their studies, and the order to look at them in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.run.records import Record
from medseg.run.report.words import safe
from medseg.run.sources import Sources, read_sources

_HEADLINE = ("dice", "iou")
_LEAST, _MOST = 0.0, 1e9
_BETTER_HIGH = re.compile(r"^(dice|iou|nsd|sens|spec|prec|boundary_iou|kappa|lesion|panoptic)")


@dataclass(frozen=True)
class RunSaid:
    """One run over a cohort: its folder, records by study, statistics, and where files lay."""

    name: str
    folder: Path
    records: Mapping[str, Record]
    statistics: Mapping[str, Any]
    sources: Sources


@dataclass(frozen=True)
class Gathered:
    """Every run of an output folder; ``studies`` are worst first.

    ``differences`` are those of comparison.json, ``agreement`` is what agreement.json says where
    there were several readers. ``files`` has for each study a name that is safe
    in a path and in a link.
    """

    output: Path
    runs: tuple[RunSaid, ...]
    studies: tuple[str, ...]
    differences: Sequence[Mapping[str, Any]] = ()
    agreement: Mapping[str, Any] | None = None

    @cached_property
    def files(self) -> Mapping[str, str]:
        """For each study the stem of its page."""
        places = {name: place for place, name in enumerate(sorted(self.studies), 1)}
        return {name: f"{place:04d}-{safe(name)}" for name, place in places.items()}

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The names of all results, in the order in which they occur."""
        return tuple(dict.fromkeys(one["metric"] for one in self._measures()))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of all labels, in the order in which they occur."""
        named = (
            name
            for run in self.runs
            for record in run.records.values()
            for frame in record.get("volumes_ml", [])
            for name in frame
        )
        return tuple(dict.fromkeys(named))

    @cached_property
    def headline(self) -> str | None:
        """The metric that orders studies: Dice, or what there is in its place."""
        known = self.metrics
        return next((name for name in (*_HEADLINE, *known) if name in known), None)

    @property
    def readers(self) -> tuple[str, ...]:
        """The names of several readers; none where there was one reference."""
        return () if self.agreement is None else tuple(self.agreement["readers"])

    def _measures(self) -> Iterator[Mapping[str, Any]]:
        for run in self.runs:
            for record in run.records.values():
                yield from record.get("metrics", [])


def gathered(output: Path) -> Gathered:
    """What ``medseg run`` or ``medseg evaluate`` left in a folder.

    Raises InputError E_NO_INPUT where neither was there.
    """
    comparison = _json(output / "comparison.json")
    if comparison is not None:
        differences = comparison.get("differences", [])
        found = [_run(name, output / name) for name in comparison.get("runs", [])]
        runs = tuple(one for one in found if one is not None)
    else:
        differences = []
        alone = _run("", output)
        runs = (alone,) if alone is not None else ()
    if not runs:
        told = "holds no records of studies; give the output folder of run or evaluate"
        raise InputError("E_NO_INPUT", told, output)
    first = Gathered(output, runs, tuple(dict.fromkeys(n for r in runs for n in r.records)))
    ordered = sorted(first.studies, key=lambda name: badness(first, name))
    readers = _json(output / "agreement.json")
    return replace(first, studies=tuple(ordered), differences=differences, agreement=readers)


def badness(found: Gathered, study: str) -> tuple[int, float, int, str]:
    """The smaller, the earlier a person should look: failures, then the lowest value, flags."""
    records = [run.records[study] for run in found.runs if study in run.records]
    if any(record["state"] == "failed" for record in records):
        return (0, _LEAST, 0, study)
    metric = found.headline
    values = [v for r in records for v in values_of(r, metric).values() if v is not None]
    sign = 1.0 if metric is None or higher_is_better(metric) else -1.0
    flags = sum(len(record.get("warnings", [])) for record in records)
    worst = min((sign * value for value in values), default=_MOST)
    return (1, worst, -flags, study)


def values_of(record: Record, metric: str | None) -> dict[str, float | None]:
    """One metric's value of each label, None where it is undefined."""
    return {
        one["label"]: one["value"] for one in record.get("metrics", []) if one["metric"] == metric
    }


def higher_is_better(metric: str) -> bool:
    """Whether a result is a share, 1 the best, and no distance or difference."""
    return bool(_BETTER_HIGH.match(metric))


def _run(name: str, folder: Path) -> RunSaid | None:
    records = {}
    for path in sorted((folder / "studies").glob("*.json")):
        record = _json(path)
        if record is not None and {"study", "state"} <= record.keys():
            records[str(record["study"])] = record
    if not records:
        return None
    statistics = _json(folder / "statistics.json") or {}
    return RunSaid(name, folder, records, statistics, read_sources(folder))


def _json(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
