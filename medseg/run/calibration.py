"""calibration.json and calibration.csv: what probabilities were worth over a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medseg.io import write_atomically
from medseg.metrics.calibration import Forecasts
from medseg.run.records import Record
from medseg.run.statistics import write_json
from medseg.run.tables import csv_bytes

_COLUMNS = ("label", "from", "to", "voxels", "forecast", "observed")


def pooled(records: Iterable[Record]) -> dict[str, Forecasts]:
    """By label the forecasts of all studies together; studies with other bins are left out."""
    parts: dict[str, list[Forecasts]] = {}
    for record in records:
        for label, told in record.get("calibration", {}).items():
            found = Forecasts.read(told)
            known = parts.setdefault(label, [])
            if not known or len(known[0].count) == len(found.count):
                known.append(found)
    totals = {label: Forecasts.total(known) for label, known in parts.items()}
    return {label: total for label, total in totals.items() if total is not None}


def write_calibration(output: Path, records: Iterable[Record]) -> None:
    """Write both files where probabilities were kept and had a reference beside them.

    ``ece`` and ``brier`` here are of all studies' voxels together; their means over studies are
    in statistics.json.
    """
    found = pooled(records)
    if not found:
        return
    write_json(output / "calibration.json", {name: _told(one) for name, one in found.items()})
    rows = [(name, *row) for name, one in found.items() for row in zip(*_columns(one), strict=True)]
    write_atomically(output / "calibration.csv", csv_bytes(_COLUMNS, rows))


def _columns(one: Forecasts) -> tuple[list[Any], ...]:
    bins = len(one.count)
    there = [place for place in range(bins) if one.count[place]]
    curve = one.curve
    return (
        [place / bins for place in there],
        [(place + 1) / bins for place in there],
        curve.count.tolist(),
        [round(value, 6) for value in curve.forecast.tolist()],
        [round(value, 6) for value in curve.observed.tolist()],
    )


def _told(one: Forecasts) -> Mapping[str, Any]:
    _, _, count, forecast, observed = _columns(one)
    return {
        "voxels": int(one.count.sum()),
        "ece": round(one.curve.ece, 6),
        "largest_gap": round(one.curve.largest_gap, 6),
        "brier": round(one.brier, 6),
        "curve": {"voxels": count, "forecast": forecast, "observed": observed},
    }
