"""Probabilities and entropy on another grid equal interpolating everything by the book."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from medseg.image import Grid, Label, Labels
from medseg.inference import Scores, decision
from medseg.inference.certainty import chances, entropy, most_bits
from medseg.inference.rule import Decision

EXCLUSIVE = Labels((Label("a", (1,)), Label("b", (9,)), Label("c", (300,))))
REGIONS = Labels((Label("whole", (1, 2, 4)), Label("core", (1, 4)), Label("enhancing", (4,))))
SOURCE = Grid(np.diag([2.0, 1.5, 3.1, 1.0]), (9, 12, 7))


def oblique() -> Grid:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    return Grid(turn @ np.diag([1.3, 1.1, 2.2, 1.0]), (14, 15, 9))


TARGETS = {
    "the same": SOURCE,
    "finer and turned": SOURCE.spaced((0.8, 0.9, 1.0)).oriented("SLA"),
    "beyond the field of view": SOURCE.cropped((-4, -3, -2), (12, 15, 10)),
    "oblique": oblique(),
}


def scores(labels: Labels, rule: str = "probabilities") -> Scores:
    chance = torch.Generator().manual_seed(4)
    raw = 2 * torch.randn(labels.channels, *SOURCE.shape, generator=chance)
    if rule == "logits":
        return Scores(raw, SOURCE, labels, decision=Decision("logits"))
    return Scores(raw.softmax(0) if labels.exclusive else raw.sigmoid(), SOURCE, labels)


def by_the_book(said: Scores, target: Grid) -> np.ndarray:
    """Probabilities (K, X, Y, Z) in float64, 0 outside."""
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1)
    ones = np.ones((*target.shape, 1))
    world = np.concatenate([target.world(index), ones], -1)[..., None]
    at = np.round(np.linalg.solve(said.grid.affine, world)[..., :3, 0], 9)
    places = np.moveaxis(at, -1, 0)
    data = np.stack(
        [map_coordinates(c.double().numpy(), places, order=1, mode="nearest") for c in said.data]
    )
    if said.decision.scores == "logits":
        powers = np.exp(data)
        data = powers / powers.sum(0) if said.labels.exclusive else powers / (1 + powers)
    outside = ((at < -0.5 - 1e-6) | (at > np.asarray(said.grid.shape) - 0.5 + 1e-6)).any(-1)
    return np.where(outside, 0, data)


@pytest.mark.parametrize("rule", ["probabilities", "logits"])
@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("name", TARGETS)
def test_probabilities_and_entropy_are_those_of_all_labels_interpolated(
    name: str, labels: Labels, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "_SLAB_FLOATS", 3000)
    said, target = scores(labels, rule), TARGETS[name]
    book = by_the_book(said, target)
    outside = (book == 0).all(0)
    for place, label in enumerate(labels.names):
        found = np.concatenate([part for _, part in chances(said, label, target)])
        np.testing.assert_allclose(found, book[place + labels.exclusive], atol=3e-5)
    known = np.clip(book, 1e-300, 1)
    bits = -(known * np.log2(known)).sum(0)
    if not labels.exclusive:
        rest = np.clip(1 - book, 1e-300, 1)
        bits -= (rest * np.log2(rest)).sum(0)
    bits[outside] = 0
    mine = np.concatenate([part for _, part in entropy(said, target)])
    np.testing.assert_allclose(mine, bits, atol=2e-4)
    assert mine.max() <= most_bits(labels) + 1e-5


@settings(max_examples=25, deadline=None)
@given(sure=st.floats(0, 1))
def test_entropy_is_that_of_a_coin(sure: float) -> None:
    one = Labels((Label("a", (1,)),))
    grid = Grid(np.eye(4), (2, 2, 2))
    data = torch.tensor([1 - sure, sure]).reshape(2, 1, 1, 1).expand(2, 2, 2, 2)
    (_, bits), *_ = entropy(Scores(data, grid, one), grid)
    wanted = 0.0 if sure in (0, 1) else -sum(p * np.log2(p) for p in (sure, 1 - sure) if p)
    assert bits == pytest.approx(wanted, abs=1e-5)


def test_the_likeliest_label_is_the_one_that_is_decided() -> None:
    said = scores(EXCLUSIVE)
    target = TARGETS["finer and turned"]
    mask = said.decided_on(target)
    of = {n: np.concatenate([p for _, p in chances(said, n, target)]) for n in EXCLUSIVE.names}
    for name, found in of.items():
        others = np.max([one for other, one in of.items() if other != name], axis=0)
        assert (found >= others - 1e-6)[mask.where(name)].all()


def test_thick_slices_are_read_as_they_are_decided() -> None:
    from medseg.image.coarse import CoarseAxis

    rule = Decision("logits", CoarseAxis(), (1.0, 1.0, 6.0))
    said = replace(scores(EXCLUSIVE, "logits"), decision=rule)
    target = SOURCE.spaced((1.0, 1.0, 6.0))
    mask = said.decided_on(target)
    found = {n: np.concatenate([p for _, p in chances(said, n, target)]) for n in EXCLUSIVE.names}
    best = np.max(list(found.values()), axis=0)
    for name, one in found.items():
        assert (one == best)[mask.where(name)].all()
