"""Flags without a reference: edges, pieces, volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masks import ORDERS, TUMOUR, mask_of, masks, turned

from medseg.metrics.instances import split
from medseg.metrics.quality import Quality, _pieces, agreement


def flags(data: Any, **options: Any) -> list[str]:
    return [str(one) for one in Quality(**options).flags(mask_of(data))]


def test_a_label_at_the_edge_is_said_with_its_side() -> None:
    data = np.zeros((6, 6, 6))
    data[2:4, 2:4, 4:] = 1
    assert flags(data) == ["W_BORDER: a reaches the superior edge of the scan"]
    data[0] = 2
    assert flags(data)[1].startswith("W_BORDER: b reaches the left, posterior, anterior")
    assert not flags(data, border=False)


def test_one_slice_has_no_edge_above_and_below() -> None:
    data = np.zeros((6, 6, 1))
    data[2:4, 2:4] = 1
    assert not flags(data)


def test_many_pieces_and_odd_volumes_are_said() -> None:
    data = np.zeros((9, 9, 9))
    data[1:8:2, 1:8:2, 4] = 5
    assert flags(data) == []
    assert flags(data, fragments=15) == ["W_FRAGMENTS: c is in 16 pieces, more than 15"]
    told = flags(data, volumes_ml={"c": (0.02, 0.1), "a": (1.0, 2.0)})
    assert told == ["W_VOLUME: c has 0.016 ml, outside 0.02 to 0.1 ml"]
    assert not flags(data, volumes_ml={"c": (0.01, 0.1)}, fragments=None)


@settings(max_examples=20, deadline=None)
@given(masks() | masks(TUMOUR), st.sampled_from(ORDERS))
def test_pieces_of_all_labels_at_once_are_those_of_each(mask: Any, codes: str) -> None:
    other = turned(mask, codes)
    wanted = {name: int(split(mask.where(name)).max()) for name in mask.labels.names}
    assert _pieces(other) == wanted


@pytest.mark.parametrize(
    ("options", "says"),
    [({"fragments": 0}, "^fragments"), ({"volumes_ml": {"a": (2.0, 1.0)}}, "^volumes_ml")],
)
def test_impossible_wishes_are_refused(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Quality(**options)


def test_doubts_are_said_of_labels_that_are_there() -> None:
    quality = Quality(confidence=0.8, agreement=0.5)
    told = quality.doubts({"a": 0.79, "b": 0.8, "c": None}, {"a": 0.5, "b": 0.49, "c": None})
    assert [str(one) for one in told] == [
        "W_CONFIDENCE: a has a mean probability of 0.79, below 0.8",
        "W_DISAGREEMENT: the networks agree on b by a Dice of 0.49, below 0.5",
    ]
    assert not Quality(confidence=None, agreement=None).doubts({"a": 0.0}, {"a": 0.0})
    with pytest.raises(ValueError, match="confidence is between 0 and 1"):
        Quality(confidence=1.5)


def test_agreement_is_the_mean_dice_of_all_pairs() -> None:
    data = [np.zeros((4, 4, 4)) for _ in range(3)]
    data[0][:2], data[1][:1], data[2][0] = 1, 1, 2
    found = agreement([mask_of(one) for one in data])
    # 2 * 16 / (32 + 16) for the first two; the third has nothing of it.
    assert found["a"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert found["b"] == 0.0
    assert found["c"] is None
