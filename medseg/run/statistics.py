"""statistics.json and statistics.csv: what a cohort says, with intervals and by subgroup."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg.io import write_atomically
from medseg.metrics import Measure
from medseg.metrics.statistics import RESAMPLES, bland_altman, describe, icc
from medseg.run.records import Record
from medseg.run.tables import csv_bytes

Found = list[tuple[str, float | None, str | None]]
"""Study, value, and where there is none the reason."""
_COLUMNS = ("n", "patients", "mean", "median", "sd", "low", "high")


@dataclass(frozen=True)
class Cohort:
    """What is known of studies by their names, the columns to part by, and the patient's."""

    attributes: Mapping[str, Mapping[str, str]]
    by: tuple[str, ...] = ()
    patient: str = "patient"

    def patients(self, studies: Iterable[str]) -> list[str]:
        """The patient of each study; a study without one is a patient of its own."""
        return [self.attributes.get(s, {}).get(self.patient) or f"study {s}" for s in studies]

    def value(self, study: str, column: str) -> str:
        """What a column says of a study, empty where it says nothing."""
        return self.attributes.get(study, {}).get(column, "")


def by_place(records: Iterable[Record]) -> dict[tuple[str, str], Found]:
    """The measures of studies by label and metric, in the order of the studies."""
    found: dict[tuple[str, str], Found] = {}
    for record in records:
        for one in record.get("metrics", []):
            measure = Measure(**one)
            place = found.setdefault((measure.label, measure.metric), [])
            place.append((record["study"], measure.value, measure.reason))
    return found


def write_statistics(output: Path, records: Sequence[Record], cohort: Cohort) -> Mapping[str, Any]:
    """Write both files of the studies that were compared, and give what the JSON says."""
    done = [record for record in records if record["state"] == "done"]
    groups = {"all": {"": done}}
    for column in cohort.by:
        parted: dict[str, list[Record]] = {}
        for record in done:
            parted.setdefault(cohort.value(record["study"], column), []).append(record)
        groups[column] = dict(sorted(parted.items()))
    told = {
        column: {value: _described(part, cohort) for value, part in parts.items()}
        for column, parts in groups.items()
    }
    said = {
        "interval": f"95 % of {RESAMPLES} bootstrap means, drawn by patient",
        "metrics": told.pop("all")[""],
        "volumes_ml": _volumes(done),
        "by": told,
    }
    write_json(output / "statistics.json", said)
    write_atomically(output / "statistics.csv", _table(said))
    return said


def write_json(path: Path, said: Any) -> None:
    """Write JSON without NaN."""
    text = json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def _described(records: Sequence[Record], cohort: Cohort) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    for (label, metric), found in by_place(records).items():
        values = [(study, value) for study, value, _ in found if value is not None]
        patients = cohort.patients(study for study, _ in values)
        told.setdefault(label, {})[metric] = {
            **asdict(describe([value for _, value in values], patients)),
            "undefined": dict(Counter(why for _, value, why in found if value is None)),
        }
    return told


def _volumes(records: Sequence[Record]) -> dict[str, Any]:
    """Bland and Altman's limits and ICC of predicted and reference volumes of each label."""
    told: dict[str, Any] = {}
    for label in dict.fromkeys(name for r in records for name in r.get("reference_volumes_ml", {})):
        pairs = [
            (record["volumes_ml"][0].get(label, 0.0), record["reference_volumes_ml"][label])
            for record in records
            if label in record.get("reference_volumes_ml", {})
        ]
        mine, theirs = zip(*pairs, strict=True)
        limits, agreed = bland_altman(mine, theirs), icc(pairs)
        told[label] = {
            "bland_altman": None if limits is None else asdict(limits),
            "icc": None if agreed is None else asdict(agreed),
        }
    return told


def _table(said: Mapping[str, Any]) -> bytes:
    groups = [("", "", said["metrics"])]
    groups += [(c, value, t) for c, parts in said["by"].items() for value, t in parts.items()]
    rows = [
        (column, value, label, metric, *(one[name] for name in _COLUMNS))
        for column, value, told in groups
        for label, metrics in told.items()
        for metric, one in metrics.items()
    ]
    return csv_bytes(("column", "value", "label", "metric", *_COLUMNS), rows)
