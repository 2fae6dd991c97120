"""What many measures say together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics import Measure, summarise

values = st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(values)
def test_the_summary_is_numpys_over_defined_values(found: list[float | None]) -> None:
    measures = [
        Measure("a", "dice", value, "both_empty" if value is None else None) for value in found
    ]
    row = summarise(measures)["a"]["dice"]
    defined = [value for value in found if value is not None]
    assert row["n"] == len(defined)
    assert sum(row["undefined"].values()) == len(found) - len(defined)
    assert row["mean"] == (pytest.approx(np.mean(defined)) if defined else None)
    assert row["median"] == (pytest.approx(np.median(defined)) if defined else None)
    sd = pytest.approx(np.std(defined, ddof=1), abs=1e-12) if len(defined) > 1 else None
    assert row["sd"] == sd
    json.dumps(row, allow_nan=False)


def test_labels_metrics_and_reasons_are_kept_apart() -> None:
    summary = summarise(
        [
            Measure("liver", "dice", 0.9),
            Measure("liver", "dice", 0.7),
            Measure("liver", "iou", 0.5),
            Measure("tumour", "dice", None, "both_empty"),
            Measure("tumour", "dice", None, "both_empty"),
            Measure("tumour", "dice", None, "reference_empty"),
        ]
    )
    assert list(summary) == ["liver", "tumour"]
    assert summary["liver"]["dice"]["mean"] == pytest.approx(0.8)
    assert summary["liver"]["iou"] == {
        "mean": 0.5,
        "median": 0.5,
        "sd": None,
        "n": 1,
        "undefined": {},
    }
    assert summary["tumour"]["dice"] == {
        "mean": None,
        "median": None,
        "sd": None,
        "n": 0,
        "undefined": {"both_empty": 2, "reference_empty": 1},
    }


def test_nothing_sums_up_to_nothing() -> None:
    assert summarise([]) == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"value": None}, "a value or a reason"),
        ({"value": 0.5, "reason": "both_empty"}, "a value or a reason"),
        ({"value": float("nan")}, "is finite"),
        ({"value": float("inf")}, "is finite"),
    ],
)
def test_a_measure_has_a_finite_value_or_a_reason(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Measure("a", "dice", **options)
