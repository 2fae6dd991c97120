"""What is told of single studies: cells with what is shown and what they are sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from medseg.run.records import Record
from medseg.run.report.gathering import Gathered, higher_is_better, values_of
from medseg.run.report.words import NONE, metric_label, number, paired

_FEW = 4


@dataclass(frozen=True)
class Cell:
    """What is shown, what a column is sorted by (None: last), and a note for the pointer."""

    text: str
    key: float | str | None = None
    note: str = ""
    number: bool = True


def headings(found: Gathered) -> list[str]:
    """The cohort table's columns of each run, after study and flags."""
    return _columns(found)


def cells(found: Gathered, study: str) -> list[Cell]:
    """The cohort table's row of a study, after study and flags."""
    told: list[Cell] = []
    for run in found.runs:
        told += _of_run(found, run.records.get(study, {}))
    return told


def _columns(found: Gathered) -> list[str]:
    metric, distance = found.headline, _distance(found)
    if metric is None:
        return [f"{label}, ml" for label in found.labels[:_FEW]]
    name = metric_label(metric)
    few = len(found.labels) <= _FEW
    told = [f"{name} {label}" for label in found.labels] if few else [f"mean {name}"]
    told += [] if few else [f"worst {name}"]
    return [*told, f"largest {metric_label(distance)}"] if distance else told


def _distance(found: Gathered) -> str | None:
    return next((m for m in found.metrics if m.startswith(("hd95", "hd", "assd"))), None)


def _of_run(found: Gathered, record: Record) -> list[Cell]:
    metric, distance = found.headline, _distance(found)
    if metric is None:
        volumes = (record.get("volumes_ml") or [{}])[0]
        return [_cell(volumes.get(label), 2) for label in found.labels[:_FEW]]
    values = values_of(record, metric)
    if len(found.labels) <= _FEW:
        told = [_cell(values.get(label)) for label in found.labels]
    else:
        known = {label: value for label, value in values.items() if value is not None}
        worst = min if higher_is_better(metric) else max
        name = worst(known, key=lambda label: known[label]) if known else ""
        told = [_cell(fmean(known.values()) if known else None), _cell(known.get(name), 3, name)]
    if distance is not None:
        far = {label: v for label, v in values_of(record, distance).items() if v is not None}
        label = max(far, key=lambda one: far[one]) if far else ""
        told.append(_cell(far.get(label), 1, label))
    return told


def _cell(value: float | None, digits: int = 3, note: str = "") -> Cell:
    return Cell(number(value, digits), value, note)


def flags(found: Gathered, study: str) -> list[dict[str, str]]:
    """Errors and warnings of a study, each once, with the run that has them."""
    told: dict[tuple[str, str], list[str]] = {}
    for run in found.runs:
        record = run.records.get(study)
        if record is None:
            told.setdefault(("absent", "the run has no such study"), []).append(run.name)
            continue
        if record["state"] == "failed":
            error = record["error"]
            told.setdefault((error["code"], error["message"]), []).append(run.name)
        for one in record.get("warnings", []):
            told.setdefault((one["code"], one["message"]), []).append(run.name)
    return [
        {
            "code": code.removeprefix("W_").removeprefix("E_").replace("_", " ").lower(),
            "full": code,
            "message": message,
            "runs": ", ".join(name for name in runs if name),
            "kind": "failed" if code.startswith("E_") else "flag",
        }
        for (code, message), runs in told.items()
    ]


def volumes(found: Gathered, study: str) -> list[dict[str, Any]]:
    """By label: the reference's volume, and each run's with its difference, in ml."""
    records = [run.records.get(study, {}) for run in found.runs]
    truth: Mapping[str, float] = next(
        (r["reference_volumes_ml"] for r in records if r.get("reference_volumes_ml")), {}
    )
    told = []
    for label in found.labels:
        wanted = truth.get(label)
        mine = [(r.get("volumes_ml") or [{}])[0].get(label) for r in records]
        readers = records[0].get("reader_volumes_ml", {})
        mine += [readers.get(name, {}).get(label) for name in found.readers]
        told.append(
            {
                "label": label,
                "reference": number(wanted, 2),
                "runs": [number(one, 2) for one in mine],
                "differences": [
                    "" if one is None or wanted is None else f"{one - wanted:+.2f}" for one in mine
                ],
            }
        )
    return told


def certain(found: Gathered, study: str) -> list[dict[str, Any]]:
    """By label and run: the mean probability, and how far an ensemble's networks agree."""
    told = []
    for run in found.runs:
        record = run.records.get(study, {})
        sure, agreed = ((record.get(k) or [{}])[0] for k in ("confidence", "networks_agree"))
        for label in dict.fromkeys([*sure, *agreed]):
            values = {"sure": number(sure.get(label)), "agreed": number(agreed.get(label))}
            told.append({"label": label, "run": run.name, **values})
    return told


def pairs(found: Gathered, study: str) -> list[dict[str, Any]]:
    """By label and metric the values of all pairs among a model and several readers."""
    if not found.readers:
        return []
    known: dict[tuple[str, str], dict[str, str]] = {}
    for one in found.runs[0].records.get(study, {}).get("pairs", []):
        place = known.setdefault((one["label"], metric_label(one["metric"])), {})
        place[paired(one)] = _value(one)
    return [{"label": label, "metric": m, "values": v} for (label, m), v in known.items()]


def measures(found: Gathered, study: str) -> list[dict[str, Any]]:
    """By label and metric: each run's value, or the reason why there is none."""
    by_run = [
        {(m["label"], m["metric"]): m for m in run.records.get(study, {}).get("metrics", [])}
        for run in found.runs
    ]
    known_places = dict.fromkeys(place for known in by_run for place in known)
    order = {label: number for number, label in enumerate(found.labels)}
    places = sorted(known_places, key=lambda place: order.get(place[0], len(order)))
    return [
        {"label": label, "metric": metric_label(metric), "values": [
            _value(known.get((label, metric))) for known in by_run
        ]}
        for label, metric in places
    ]  # fmt: skip


def _value(measure: Mapping[str, Any] | None) -> str:
    if measure is None:
        return NONE
    value: float | None = measure["value"]
    return str(measure["reason"]).replace("_", " ") if value is None else number(value)
