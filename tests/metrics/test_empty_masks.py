"""What every metric says where one mask is empty, or both, or the reference fills the scan."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.masks import mask_of

from medseg.image import Label, LabelMap, Labels
from medseg.metrics import METRICS, Comparison, Measure, summarise

ONE = Labels((Label("a", (1,)),))


def some(first: int, last: int) -> LabelMap:
    data = np.zeros((6, 5, 4))
    data[first:last] = 1
    return mask_of(data, ONE)


EMPTY, PART, FULL = some(0, 0), some(2, 4), some(0, 6)
NO_PREDICTION, NO_REFERENCE, NEITHER = "prediction_empty", "reference_empty", "both_empty"
# By result: prediction empty, reference empty, both with ``exclude``, both with ``one``.
SHARES: dict[str, tuple[Any, Any, Any, Any]] = {
    "dice": (0.0, 0.0, NEITHER, 1.0),
    "iou": (0.0, 0.0, NEITHER, 1.0),
    "sensitivity": (0.0, NO_REFERENCE, NEITHER, 1.0),
    "specificity": (1.0, 1 - 40 / 120, NEITHER, 1.0),
    "precision": (NO_PREDICTION, 0.0, NEITHER, 1.0),
    "kappa": (0.0, 0.0, NEITHER, 1.0),
    "lesion_f1": (0.0, 0.0, NEITHER, 1.0),
    "lesion_sensitivity": (0.0, NO_REFERENCE, NEITHER, 1.0),
    "lesion_precision": (NO_PREDICTION, 0.0, NEITHER, 1.0),
    "lesion_dice": (0.0, 0.0, NEITHER, 1.0),
    "panoptic_quality": (0.0, 0.0, NEITHER, 1.0),
    "nsd_1mm_surfels": (0.0, 0.0, NEITHER, 1.0),
    "nsd_2mm_surfels": (0.0, 0.0, NEITHER, 1.0),
    "boundary_iou_2mm": (0.0, 0.0, NEITHER, 1.0),
}
DISTANCES = (
    "hd_surfels",
    "hd95_surfels",
    "assd_surfels",
    "msd_to_reference_surfels",
    "msd_to_prediction_surfels",
    "centroid_distance",
)
DIFFERENCES: dict[str, tuple[Any, Any, Any, Any]] = {
    "false_positives": (0.0, 1.0, 0.0, 0.0),
    "false_positive_ml": (0.0, 0.04, 0.0, 0.0),
    "volume_difference_ml": (-0.04, 0.04, NEITHER, 0.0),
    "volume_difference_percent": (-100.0, NO_REFERENCE, NEITHER, 0.0),
    **dict.fromkeys(DISTANCES, (NO_PREDICTION, NO_REFERENCE, NEITHER, 0.0)),
}
TABLE = SHARES | DIFFERENCES
CASES = [
    ("prediction empty", EMPTY, PART, "exclude"),
    ("reference empty", PART, EMPTY, "exclude"),
    ("both empty", EMPTY, EMPTY, "exclude"),
    ("both empty, one", EMPTY, EMPTY, "one"),
]


def measured(prediction: LabelMap, reference: LabelMap, both_empty: str) -> list[Measure]:
    comparison = Comparison(prediction, reference)
    return [m for cls in METRICS.values() for m in cls(both_empty=both_empty)(comparison)]


@pytest.mark.parametrize("place", range(4), ids=[name for name, *_ in CASES])
def test_the_table_of_empty_masks(place: int) -> None:
    _, prediction, reference, both_empty = CASES[place]
    found = {m.metric: m for m in measured(prediction, reference, both_empty)}
    assert set(found) == set(TABLE)
    for name, row in TABLE.items():
        wanted, measure = row[place], found[name]
        if isinstance(wanted, str):
            assert (measure.value, measure.reason) == (None, wanted), name
        else:
            assert measure.value == pytest.approx(wanted), name
            assert measure.reason is None, name


def test_one_empty_mask_is_the_same_whatever_both_empty_says() -> None:
    for prediction, reference in ((EMPTY, PART), (PART, EMPTY)):
        assert measured(prediction, reference, "one") == measured(prediction, reference, "exclude")


def test_a_reference_that_fills_the_scan_leaves_nothing_to_be_specific_about() -> None:
    found = {m.metric: m for m in measured(PART, FULL, "exclude")}
    assert (found["specificity"].value, found["specificity"].reason) == (None, "reference_full")
    assert all(m.reason is None for name, m in found.items() if name != "specificity")


@pytest.mark.parametrize("prediction", [EMPTY, PART, FULL], ids=["empty", "part", "full"])
@pytest.mark.parametrize("reference", [EMPTY, PART, FULL], ids=["empty", "part", "full"])
def test_json_has_neither_nan_nor_infinity(prediction: LabelMap, reference: LabelMap) -> None:
    measures = measured(prediction, reference, "exclude")
    text = json.dumps([vars(m) for m in measures], allow_nan=False)
    assert [Measure(**row) for row in json.loads(text)] == measures
    json.dumps(summarise(measures), allow_nan=False)
