"""Intervals, tests and agreement: published examples, SciPy, and what must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics.statistics import (
    bland_altman,
    bootstrap_interval,
    compare,
    describe,
    holm,
    icc,
    ratio_interval,
)

laws = settings(max_examples=30, deadline=None)
values = st.lists(st.floats(-10, 10), min_size=2, max_size=20)
# Shrout and Fleiss (1979), table 2: six targets, four judges.
SHROUT = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


@laws
@given(values, st.floats(-5, 5))
def test_an_interval_moves_with_its_values(found: list[float], more: float) -> None:
    low, high = bootstrap_interval(found) or (0, 0)
    assert min(found) - 1e-9 <= low <= np.mean(found) + 1e-9
    assert np.mean(found) - 1e-9 <= high <= max(found) + 1e-9
    moved = bootstrap_interval(np.array(found) + more)
    assert moved == pytest.approx((low + more, high + more), abs=1e-6)


def test_an_interval_is_as_wide_as_the_normal_one_for_many_values() -> None:
    found = np.random.default_rng(0).normal(3, 2, 2000)
    half = 1.96 * 2 / np.sqrt(2000)
    low, high = bootstrap_interval(found) or (0, 0)
    assert high - low == pytest.approx(2 * half, rel=0.06)
    assert (low + high) / 2 == pytest.approx(found.mean(), abs=0.1 * half)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    held = 0
    for seed in range(200):
        found = np.random.default_rng(seed).normal(0, 1, 60)
        low, high = bootstrap_interval(found) or (0, 0)
        held += low <= 0 <= high
    assert 0.89 <= held / 200 <= 0.99


def test_studies_of_one_patient_widen_the_interval() -> None:
    found = np.random.default_rng(1).normal(size=30)
    twice, patients = np.repeat(found, 4), np.repeat(np.arange(30), 4).tolist()
    assert bootstrap_interval(twice, patients) == pytest.approx(bootstrap_interval(found))
    narrow, wide = (np.ptp(bootstrap_interval(twice, who) or 0) for who in (None, patients))
    assert narrow < 0.6 * wide
    assert describe(twice, patients).patients == 30


def test_too_few_say_less_and_never_nan() -> None:
    none, one = describe([]), describe([0.5])
    assert (none.n, none.mean, none.low) == (0, None, None)
    assert (one.mean, one.median, one.sd, one.low) == (0.5, 0.5, None, None)
    assert bootstrap_interval([1.0, 2.0], ["a", "a"]) is None
    assert ratio_interval([1.0, 2.0], [0.0, 0.0]) is None
    assert compare([], []).mean is None
    assert compare([1.0], [2.0]).p is None
    assert bland_altman([1.0], [1.0]) is None
    with pytest.raises(ValueError, match=r"^patients"):
        describe([1.0, 2.0], ["a"])


@laws
@given(st.integers(0, 1000))
def test_paired_differences_are_scipys(seed: int) -> None:
    from scipy.stats import wilcoxon

    one, other = np.random.default_rng(seed).normal(size=(2, 15))
    found = compare(one, other)
    assert found.mean == pytest.approx((one - other).mean())
    assert found.p == pytest.approx(wilcoxon(one, other).pvalue)
    back = compare(other, one)
    assert back.p == pytest.approx(found.p)
    assert back.mean == pytest.approx(-(found.mean or 0))


def test_equal_runs_do_not_differ() -> None:
    same = compare([0.5, 0.7, 0.9], [0.5, 0.7, 0.9])
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_holm_multiplies_from_the_least_and_never_falls() -> None:
    """Holm's steps by hand: 0.01 x 4, 0.02 x 3, 0.03 x 2, then 0.06 again for 0.04."""
    found = holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02, "none": None})
    wanted = {"d": 0.06, "a": 0.04, "c": 0.06, "b": 0.06, "none": None}
    assert found == {k: None if v is None else pytest.approx(v) for k, v in wanted.items()}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_the_icc_of_shrout_and_fleiss() -> None:
    """Published: ICC(2,1) = 0.29 with the interval 0.02 to 0.76."""
    found = icc(SHROUT)
    assert found is not None
    assert found.value == pytest.approx(0.2898, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.0188, 0.7611), abs=2e-3)


def test_raters_who_agree_have_an_icc_of_one_and_those_who_never_differ_none() -> None:
    found = icc([[1, 1], [2, 2], [5, 5]])
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert icc([[1, 1], [1, 1]]) is None
    assert icc([[1, 2]]) is None
    assert icc([[3, 0], [3, 0]]) is None


def test_limits_of_agreement_hold_nineteen_of_twenty_differences() -> None:
    reference = np.random.default_rng(3).uniform(10, 50, 4000)
    apart = np.random.default_rng(4).normal(1.5, 2, 4000)
    found = bland_altman(reference + apart, reference)
    assert found is not None
    assert found.bias == pytest.approx(1.5, abs=0.1)
    inside = (apart > found.low) & (apart < found.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.01)


def test_a_sum_over_a_sum_is_bounded_like_a_mean() -> None:
    found: Any = np.random.default_rng(5).uniform(1, 2, 40)
    assert ratio_interval(found, np.ones(40)) == bootstrap_interval(found)
