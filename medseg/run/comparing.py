"""Several runs over the same references: each evaluated, then compared study by study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.io import find_masks, write_atomically
from medseg.metrics.statistics import compare, holm
from medseg.run.evaluate import Asked, EvaluationSummary, evaluated, labels_of, shared_out
from medseg.run.events import Note, Watch, unheard
from medseg.run.records import Record
from medseg.run.statistics import Cohort, by_place, write_json
from medseg.run.tables import csv_bytes

_COLUMNS = ("n", "patients", "mean", "low", "high", "p", "p_holm")


@dataclass(frozen=True)
class ComparisonSummary:
    """Where the tables are, what became of each run, and the differences of pairs of runs."""

    output: Path
    runs: Mapping[str, EvaluationSummary]
    differences: Sequence[Mapping[str, Any]]


def evaluate_runs(
    runs: Mapping[str, Path],
    references: Path,
    asked: Asked,
    output: Path,
    watch: Watch = unheard,
) -> ComparisonSummary:
    """Evaluate each run into ``output/NAME`` and compare all pairs in comparison.json and .csv.

    A difference is the first run less the second over the studies where both have a value;
    p-values are corrected over the labels of a metric. Raises InputError as ``evaluate`` does.
    """
    paired = [one for path in runs.values() for one in find_masks(path, references).studies]
    if asked.labels is None:
        masks = [Path(mask) for one in paired for mask in (one.images[0], one.reference) if mask]
        unique = list(dict.fromkeys(masks))
        labels = labels_of(unique, shared_out(asked.jobs, len(unique))[0])
        asked = replace(asked, labels=labels)
    summaries = {}
    for name, path in runs.items():
        watch(Note(f"{name}: {path}"))
        summaries[name] = evaluated(path, references, asked, output / name, watch)
    records = {name: one.records for name, one in summaries.items()}
    differences = differences_of(records, asked.cohort(paired))
    write_json(output / "comparison.json", {"runs": list(runs), "differences": differences})
    rows = [tuple(one.values()) for one in differences]
    columns = ("one", "other", "metric", "label", *_COLUMNS)
    write_atomically(output / "comparison.csv", csv_bytes(columns, rows))
    return ComparisonSummary(output, summaries, differences)


def differences_of(runs: Mapping[str, Sequence[Record]], cohort: Cohort) -> list[dict[str, Any]]:
    """For each pair of runs, metric and label: the paired difference and its p-values."""
    places = {name: by_place(records) for name, records in runs.items()}
    told = []
    for one, other in combinations(runs, 2):
        shared = [place for place in places[one] if place in places[other]]
        for metric in dict.fromkeys(metric for _, metric in shared):
            found = {}
            for label in (label for label, name in shared if name == metric):
                mine, theirs = (
                    {s: v for s, v, _ in places[run][label, metric] if v is not None}
                    for run in (one, other)
                )
                both = [study for study in mine if study in theirs]
                values = [mine[s] for s in both], [theirs[s] for s in both]
                found[label] = compare(*values, cohort.patients(both))
            corrected = holm({label: difference.p for label, difference in found.items()})
            told += [
                {
                    "one": one,
                    "other": other,
                    "metric": metric,
                    "label": label,
                    **asdict(difference),
                    "p_holm": corrected[label],
                }
                for label, difference in found.items()
            ]
    return told


def named_runs(said: Sequence[str]) -> dict[str, Path]:
    """Runs by name: ``NAME=FOLDER``, or a folder that is called by its own name.

    Folders of the same name are called by the folder above as well. Raises InputError
    E_DUPLICATE_ID where two runs would share a name.
    """
    found: dict[str, Path] = {}
    parted = [_parted(one) for one in said]
    plain = [path.name for name, path in parted if name is None]
    for name, path in parted:
        twin = plain.count(path.name) > 1
        key = name or (f"{path.parent.name}-{path.name}" if twin else path.name)
        if key in found:
            raise InputError(
                "E_DUPLICATE_ID", f"two runs are called {key!r}; say NAME=FOLDER", path
            )
        found[key] = path
    return found


def _parted(said: str) -> tuple[str | None, Path]:
    name, equals, path = said.partition("=")
    if equals and name and "/" not in name:
        return name, Path(path)
    return None, Path(said).resolve()
