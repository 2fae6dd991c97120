"""Probabilities that mean what they say: the temperature that references make likeliest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.inference.probabilities import (
    TEMPERATURES,
    Likelihood,
    calibrated,
    likelihood,
    probabilities_on,
)
from medseg.inference.rule import Decision
from medseg.inference.scores import Scores

EXCLUSIVE = Labels((Label("a", (1,)), Label("b", (2,))))
REGIONS = Labels((Label("whole", (1, 2)), Label("core", (2,))))
SHAPE = (12, 10, 8)
GRID = Grid(np.diag([1.0, 1.5, 2.0, 1.0]), SHAPE)
FINER = Grid(np.diag([0.7, 0.9, 1.1, 1.0]), (15, 15, 13))


def logits(seed: int, channels: int, sharpness: float = 2.0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return sharpness * torch.randn((channels, *SHAPE), generator=chance)


def scores(seed: int, labels: Labels, rule: str = "probabilities") -> Scores:
    raw = logits(seed, labels.channels)
    if rule == "logits":
        return Scores(raw, GRID, labels, decision=Decision(scores="logits"))
    return Scores(raw.softmax(0) if labels.exclusive else raw.sigmoid(), GRID, labels)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([EXCLUSIVE, REGIONS]),
    st.sampled_from(["probabilities", "logits"]),
    st.floats(0.3, 6),
    st.sampled_from([GRID, FINER]),
)
def test_no_temperature_changes_what_is_likeliest(
    seed: int, labels: Labels, rule: str, temperature: float, grid: Grid
) -> None:
    given_scores = scores(seed, labels, rule)
    shares = np.stack(probabilities_on(given_scores, grid, temperature), -1) / 65535
    mask = given_scores.decided_on(grid)
    for place, name in enumerate(labels.names):
        mine = shares[..., place]
        if labels.exclusive:
            others = np.delete(shares, place, -1).sum(-1)
            rivals = np.stack(
                [1 - mine - others, *np.delete(shares, place, -1).transpose(3, 0, 1, 2)]
            )
            # A share is told to 1 / 65535, so that near ties are either's.
            slack = 3e-5
            assert (mine[mask.where(name)] >= (rivals.max(0) - slack)[mask.where(name)]).all()
        elif name == "core":
            assert (mine[mask.where(name)] >= 0.5 - 3e-5).all()


def test_a_temperature_of_1_is_no_change() -> None:
    one = scores(3, EXCLUSIVE)
    assert calibrated(one, 1.0) is one
    shares = np.stack(probabilities_on(one, GRID), -1) / 65535
    assert shares == pytest.approx(one.data[1:].movedim(0, -1).numpy(), abs=2e-5)


@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS])
def test_a_temperature_divides_the_logits(labels: Labels) -> None:
    raw = logits(5, labels.channels)
    wanted = (raw / 2.5).softmax(0) if labels.exclusive else (raw / 2.5).sigmoid()
    for rule in ("probabilities", "logits"):
        found = calibrated(scores(5, labels, rule), 2.5).data
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("true", [0.6, 1.0, 2.2])
def test_the_temperature_that_references_were_drawn_by_is_found(true: float) -> None:
    side = (40, 40, 40)
    grid = Grid(np.eye(4), side)
    raw = 3 * torch.randn((3, *side), generator=torch.Generator().manual_seed(1))
    shares = (raw / true).softmax(0).reshape(3, -1).T
    drawn = torch.multinomial(shares, 1, generator=torch.Generator().manual_seed(2))
    reference = LabelMap(drawn.reshape(side).numpy().astype(np.uint8), grid, EXCLUSIVE)
    found = likelihood(Scores(raw.softmax(0), grid, EXCLUSIVE), reference)
    assert found.temperature == pytest.approx(true, rel=0.05)
    assert found.mean_at(found.temperature) <= found.mean_at(1.0) + 1e-6


def test_what_is_to_be_ignored_does_not_count() -> None:
    labels = Labels(tuple(EXCLUSIVE), 9)
    one = scores(4, labels)
    data = np.full(SHAPE, 9, np.uint8)
    data[:3] = 1
    found = likelihood(one, LabelMap(data, GRID, labels))
    assert found.voxels == 3 * SHAPE[1] * SHAPE[2]


def test_the_mean_likelihood_is_torchs_own() -> None:
    one = scores(6, EXCLUSIVE)
    data = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    found = likelihood(one, LabelMap(data, GRID, EXCLUSIVE))
    wanted = torch.nn.functional.nll_loss(
        one.data.log()[None], torch.from_numpy(data.astype(np.int64))[None]
    )
    assert found.mean_at(1.0) == pytest.approx(float(wanted), rel=1e-3)
    twice = Likelihood.total(iter([found, found]))
    assert twice.voxels == 2 * found.voxels
    assert twice.temperature == found.temperature
    assert len(found.sums) == len(TEMPERATURES)


def test_nothing_known_is_no_temperature() -> None:
    assert Likelihood.total(iter(())).temperature == 1.0


def test_outside_of_the_scores_nothing_is_probable() -> None:
    wider = Grid(np.diag([1.0, 1.5, 2.0, 1.0]), (20, 10, 8))
    shares = np.stack(probabilities_on(scores(7, EXCLUSIVE), wider, 3.0), -1)
    assert not shares[12:].any()
    assert shares[:12].any()
