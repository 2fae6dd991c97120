"""What a metric says of one label, and what many studies' measures say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median, stdev
from typing import Any, Literal

Reason = Literal["both_empty", "reference_empty", "prediction_empty", "reference_full"]
BothEmpty = Literal["exclude", "one"]


@dataclass(frozen=True)
class Measure:
    """A finite value, or None and the reason why it is undefined."""

    label: str
    metric: str
    value: float | None
    reason: Reason | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason is not None):
            raise ValueError(f"a measure has a value or a reason, not {self.value}, {self.reason}")
        if self.value is not None and not isfinite(self.value):
            raise ValueError(f"a measure is finite, not {self.value}")


def summarise(measures: Iterable[Measure]) -> dict[str, dict[str, dict[str, Any]]]:
    """For each label and metric: mean, median and SD over how many, and what was undefined.

    Only defined values count. ``sd`` is that of a sample (n - 1), None for fewer than two.
    """
    by_place: dict[tuple[str, str], list[Measure]] = {}
    for measure in measures:
        by_place.setdefault((measure.label, measure.metric), []).append(measure)
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for (label, metric), found in by_place.items():
        values = [m.value for m in found if m.value is not None]
        summary.setdefault(label, {})[metric] = {
            "mean": fmean(values) if values else None,
            "median": median(values) if values else None,
            "sd": stdev(values) if len(values) > 1 else None,
            "n": len(values),
            "undefined": dict(Counter(m.reason for m in found if m.value is None)),
        }
    return summary
