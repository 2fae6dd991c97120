"""The tables of a whole run, made anew from the records of its studies."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.io import write_atomically
from medseg.metrics import Measure, summarise
from medseg.run.records import Record

_TOLD = (
    *("study", "patient", "state", "error", "volumes_ml", "reference_volumes_ml", "metrics"),
    *("instances", "calibration"),
)
_RISKY = ("=", "+", "-", "@", "\t", "\r")


def for_tables(records: Iterable[Record]) -> list[Record]:
    """Of each record what the tables of a run say."""
    return [{key: record[key] for key in _TOLD if key in record} for record in records]


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV table; text that a spreadsheet would take for a formula gets an apostrophe."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_RISKY) else value


def write_tables(output: Path, records: Sequence[Record]) -> Mapping[str, Any]:
    """Write volumes.csv, and with references metrics.csv; summary.json; give the summary."""
    done = [record for record in records if record["state"] == "done"]
    many = any(len(record["volumes_ml"]) > 1 for record in done)
    volumes = [
        (record["study"], *((frame,) if many else ()), label, volume)
        for record in done
        for frame, by_label in enumerate(record["volumes_ml"])
        for label, volume in by_label.items()
    ]
    columns = ["study", *(["frame"] if many else []), "label", "volume_ml"]
    write_atomically(output / "volumes.csv", csv_bytes(columns, volumes))
    measures = [(record["study"], Measure(**one)) for record in done for one in _metrics(record)]
    if measures:
        write_metrics(output, measures)
    summary = summed(records)
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(output / "summary.json", text.encode("utf-8", "backslashreplace"))
    return summary


def write_metrics(output: Path, measures: Iterable[tuple[str, Measure]]) -> None:
    """Write metrics.csv: one row a study, label and metric."""
    rows = [(name, m.label, m.metric, m.value, m.reason) for name, m in measures]
    write_atomically(
        output / "metrics.csv", csv_bytes(["study", "label", "metric", "value", "reason"], rows)
    )


def summed(records: Sequence[Record]) -> dict[str, Any]:
    """What summary.json says of a run."""
    failures = {r["study"]: r["error"]["code"] for r in records if r["state"] == "failed"}
    measures = [Measure(**one) for r in records if r["state"] == "done" for one in _metrics(r)]
    return {
        "studies": len(records),
        "done": len(records) - len(failures),
        "failed": failures,
        "mean_volume_ml": _mean_volumes(records),
        "metrics": summarise(measures),
    }


def _metrics(record: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = record.get("metrics", [])
    return found


def _mean_volumes(records: Sequence[Record]) -> dict[str, float]:
    frames = [frame for r in records if r["state"] == "done" for frame in r["volumes_ml"]]
    names = dict.fromkeys(name for frame in frames for name in frame)
    return {name: round(sum(f.get(name, 0.0) for f in frames) / len(frames), 6) for name in names}
