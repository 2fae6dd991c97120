"""Post-processing is chosen where it helps studies that were held out, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.metrics import Comparison, Dice
from medseg.postprocess.components import KeepLargest, RemoveSmall
from medseg.postprocess.holes import FillHoles
from medseg.run.choosing import Pair, Pairs, chosen
from medseg.step import through

LABELS = Labels((Label("a", (1,)), Label("b", (2,))))
SHAPE = (20, 20, 20)
GRID = Grid(np.eye(4), SHAPE)


def mask(data: np.ndarray) -> LabelMap:
    return LabelMap(data.astype(np.uint8), GRID, LABELS)


def truth() -> np.ndarray:
    data = np.zeros(SHAPE, np.uint8)
    data[2:9, 2:9, 2:9] = 1
    data[11:18, 11:18, 11:18] = 2
    return data


def pairs_of(*found: np.ndarray) -> Pairs:
    def pairs() -> Iterator[Pair]:
        for one in found:
            yield mask(one), mask(truth())

    return pairs


def test_a_perfect_mask_needs_nothing() -> None:
    choice = chosen(pairs_of(truth(), truth()), LABELS)
    assert choice.steps == ()
    assert choice.before == choice.after == {"a": 1.0, "b": 1.0}


def test_false_pieces_of_one_label_are_taken_from_that_label_alone() -> None:
    spotted = truth()
    spotted[15:18, 2:6, 2:6] = 1
    choice = chosen(pairs_of(spotted, truth()), LABELS)
    assert choice.steps == (KeepLargest(labels=("a",)),)
    assert choice.after == {"a": 1.0, "b": 1.0}
    assert choice.before["a"] < 1
    assert f"a {choice.before['a']:.4f} to 1.0000" in choice.why


def test_holes_and_crumbs_are_mended_together() -> None:
    worn = truth()
    worn[4:6, 4:6, 4:6] = 0
    worn[13:15, 13:15, 13:15] = 0
    worn[0, 19, :2] = 2
    # Two large pieces are right in the other study, so that keeping one alone would not do.
    double = truth()
    choice = chosen(pairs_of(worn, double), LABELS)
    kinds = {type(step) for step in choice.steps}
    assert FillHoles in kinds
    assert kinds & {KeepLargest, RemoveSmall}
    assert choice.after == {"a": 1.0, "b": 1.0}


def test_what_the_pipeline_asks_for_stays_where_it_does_no_harm() -> None:
    own = (KeepLargest(),)
    assert chosen(pairs_of(truth()), LABELS, own).steps == own


def test_what_the_pipeline_asks_for_goes_where_it_does_harm() -> None:
    halves = truth()
    halves[5, 2:9, 2:9] = 0
    choice = chosen(pairs_of(halves), LABELS, (KeepLargest(),))
    assert choice.dropped
    assert choice.steps == ()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_no_label_is_the_worse_for_what_was_chosen(seed: int, studies: int) -> None:
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(studies):
        one = truth()
        noisy = chance.uniform(size=SHAPE) < 0.02
        one[noisy] = chance.integers(0, 3, noisy.sum())
        found.append(one)
    choice = chosen(pairs_of(*found), LABELS)
    for name in LABELS.names:
        assert choice.after[name] >= choice.before[name] - 1e-9
    scores = [
        [m.value for m in Dice()(Comparison(through(choice.steps, mask(one)), mask(truth())))]
        for one in found
    ]
    assert np.mean(scores, 0) == pytest.approx([choice.after["a"], choice.after["b"]])
