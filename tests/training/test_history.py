"""Rows of the history, and what is remembered of the best of them."""

from __future__ import annotations

import pytest
import torch

from medseg.training.history import Best, Epoch


def test_an_epoch_in_two_parts_is_one_row_of_all_its_steps() -> None:
    first = Epoch(4, 1.0, 0.8, 1e-3, {"ball": 0.5})
    second = Epoch(4, 2.0, 0.4, 5e-4)
    row = second.after(first, 0.25)
    assert row.loss == pytest.approx(0.75 * 0.8 + 0.25 * 0.4)
    assert (row.epoch, row.minutes, row.learning_rate) == (4, 2.0, 5e-4)
    # What was measured stays until it is measured anew.
    assert row.dice == {"ball": 0.5}
    assert Epoch(4, 2.0, 0.4, 5e-4, {"ball": 0.3}).after(first, 0.25).dice == {"ball": 0.3}


def test_the_best_weights_are_those_of_the_best_dice() -> None:
    best, weights = Best(), {"a": torch.zeros(1)}
    for dice in (0.3, 0.5, 0.4, None, 0.5):
        weights["a"] += 1
        best.hear({"x": dice}, lambda: weights)
    assert best.weights is not None
    assert best.weights["a"].item() == 2
    assert best.waited == 2
    again = Best()
    again.restore(best.state())
    assert again.labels == {"x": 0.5}
