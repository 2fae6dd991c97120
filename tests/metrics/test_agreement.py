"""Readers and probabilities: published examples, SimpleITK, and what must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masks import ORGANS, mask_of

from medseg.metrics.agreement import (
    among_readers,
    cohen_kappa,
    consensus,
    fleiss_kappa,
    kappa_of_votes,
    voxel_votes,
)
from medseg.metrics.calibration import Forecasts, Probabilities, brier, reliability

# Fleiss's kappa of 10 subjects, 14 raters and 5 categories, known to be 0.210.
VOTES = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def readers(seed: int, count: int = 3, noise: float = 0.1) -> list[Any]:
    chance = np.random.default_rng(seed)
    truth = np.zeros((14, 14, 14), int)
    truth[2:8, 2:9, 3:9], truth[9:12, 3:9, 3:9] = 1, 2
    return [
        mask_of(np.where(chance.random(truth.shape) < noise, chance.choice([0, 1, 2]), truth))
        for _ in range(count)
    ]


def test_cohens_kappa_of_a_worked_example() -> None:
    """50 grants: both yes 20, both no 15, 5 and 10 apart: 0.4."""
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    assert cohen_kappa([[9, 0], [0, 0]]) is None
    assert cohen_kappa([[0, 0], [0, 0]]) is None


def test_fleiss_kappa_of_a_worked_example() -> None:
    assert fleiss_kappa(VOTES) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="same number of votes"):
        fleiss_kappa([[1, 2], [1, 1]])


def test_counting_voxels_by_votes_changes_no_kappa() -> None:
    chance = np.random.default_rng(0)
    marked = chance.integers(0, 4, 200)
    table = np.stack([marked, 3 - marked], 1)
    assert kappa_of_votes(np.bincount(marked, minlength=4)) == pytest.approx(fleiss_kappa(table))


def test_votes_are_counted_in_the_box_around_them() -> None:
    data = np.zeros((3, 9, 9, 9))
    data[0, 3, 3, 3] = data[1, 3, 3, 3] = data[1, 4, 3, 3] = 1
    found = voxel_votes([mask_of(one) for one in data], "a")
    assert found is not None
    assert found.tolist() == [4 * 3 * 3 - 2, 1, 1, 0]
    assert voxel_votes([mask_of(np.zeros((2, 2, 2)))] * 2, "a") is None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.sampled_from(["majority", "staple"]))
def test_readers_who_agree_are_their_own_consensus(seed: int, how: Any) -> None:
    one = readers(seed)[0]
    assert np.array_equal(consensus([one] * 3, how).data, one.data)


def test_a_majority_is_that_of_simpleitk() -> None:
    import SimpleITK

    three = readers(3, noise=0.3)
    images = [SimpleITK.GetImageFromArray(mask.data) for mask in three]
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.LabelVoting(images, 0))
    assert np.array_equal(consensus(three, "majority").data, theirs)


def test_staple_trusts_the_reliable_readers() -> None:
    """Two who agree outvote three who each see something else."""
    good, bad = readers(1, 2, 0.02), readers(2, 3, 0.45)
    truth = readers(0, 1, 0.0)[0].data
    masks = [*good, *bad]
    wrong = {
        how: int((consensus(masks, how).data != truth).sum())  # type: ignore[arg-type]
        for how in ("majority", "staple")
    }
    assert wrong["staple"] <= wrong["majority"]


def test_nothing_marked_is_a_consensus_too() -> None:
    empty = mask_of(np.zeros((3, 3, 3)), ORGANS)
    assert not consensus([empty, empty], "staple").data.any()


def test_a_model_among_readers_is_told_from_one_that_is_not() -> None:
    chance = np.random.default_rng(1)
    pairs = chance.normal(0.85, 0.03, 40)
    answers = {}
    for name, gap in (("worse", -0.1), ("same", 0.0), ("better", 0.1)):
        found = among_readers(pairs + gap + chance.normal(0, 0.02, 40), pairs)
        assert found is not None
        answers[name] = found.within
        assert found.index == pytest.approx(1 + gap / 0.85, abs=0.02)
    assert answers == {"worse": "no", "same": "not told apart", "better": "yes"}
    alone = among_readers([0.9], [0.8])
    assert alone is not None
    assert (alone.within, alone.low) == (None, None)
    assert among_readers([], []) is None


def test_forecasts_that_come_true_as_often_as_they_say_have_no_error() -> None:
    said = np.repeat([0.1, 0.5, 0.9], 10)
    truth = np.concatenate([np.arange(10) < n for n in (1, 5, 9)])
    curve = reliability(said, truth)
    assert curve.ece == pytest.approx(0.0, abs=1e-12)
    assert curve.observed.tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert curve.count.tolist() == [10, 10, 10]


def test_errors_of_forecasts_by_hand() -> None:
    said, truth = np.array([0.95, 0.95, 0.15, 0.25]), np.array([1, 0, 0, 1])
    curve = reliability(said, truth)
    assert curve.ece == pytest.approx((2 * 0.45 + 0.15 + 0.75) / 4)
    assert curve.largest_gap == pytest.approx(0.75)
    assert brier(said, truth) == pytest.approx(np.mean((said - truth) ** 2))
    assert reliability(np.ones(3), np.ones(3)).ece == 0.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40), st.data())
def test_forecasts_in_parts_are_the_forecasts_together(
    known: list[tuple[float, bool]], data: st.DataObject
) -> None:
    said, truth = (np.array(one) for one in zip(*known, strict=True))
    at = data.draw(st.integers(1, len(known) - 1))
    whole = Forecasts.of(said, truth, 7)
    parts = [Forecasts.of(said[p], truth[p], 7) for p in (slice(0, at), slice(at, None))]
    total = Forecasts.total(Forecasts.read(one.as_json()) for one in parts)
    assert total is not None
    assert total.count.tolist() == whole.count.tolist()
    assert total.curve.ece == pytest.approx(whole.curve.ece, abs=1e-5)
    assert total.brier == pytest.approx(brier(said, truth), abs=1e-5)
    assert Forecasts.total([]) is None


def test_impossible_options_of_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="bins"):
        Probabilities(bins=0)
    with pytest.raises(ValueError, match="margin_mm"):
        Probabilities(margin_mm=-1.0)


@pytest.mark.parametrize(
    ("said", "truth", "says"),
    [([0.5], [1, 0], "one probability"), ([1.5], [1], "between"), ([], [], "one probability")],
)
def test_what_is_no_forecast_is_refused(said: Any, truth: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        reliability(said, truth)
