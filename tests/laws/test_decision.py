"""The decision equals interpolating everything and then deciding, whatever the grids."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.inference import Scores, by_torch, decision

EXCLUSIVE = Labels((Label("a", (1,)), Label("b", (9,)), Label("c", (300,))))
REGIONS = Labels((Label("whole", (1, 2, 4)), Label("core", (1, 4)), Label("enhancing", (4,))))


def grid(spacing: tuple[float, float, float], shape: tuple[int, int, int], lean: float) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-11.0, 5.5, 40.25)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]]
    return Grid(turn @ affine, shape)


SOURCE = grid((2.0, 1.5, 3.1), (9, 12, 7), 0.0)
TARGETS = {
    "the same grid": SOURCE,
    "finer": SOURCE.spaced((0.8, 0.9, 1.0)),
    "coarser": SOURCE.spaced((5.0, 4.0, 6.0)),
    "turned and swapped": SOURCE.spaced((1.1, 1.7, 2.0)).oriented("SLA"),
    "larger than the field of view": SOURCE.spaced((1.0, 1.0, 1.0)).cropped(
        (-5, -4, -3), (22, 20, 25)
    ),
    "cropped by whole voxels": SOURCE.cropped((2, 1, 0), (7, 14, 7)).oriented("LPI"),
    "oblique": grid((1.3, 1.1, 2.2), (14, 15, 9), 0.3),
    "one voxel thick": SOURCE.spaced((1.0, 1.0, 25.0)),
}


def random_scores(labels: Labels, seed: int = 0) -> Scores:
    chance = torch.Generator().manual_seed(seed)
    raw = torch.randn(labels.channels, *SOURCE.shape, generator=chance)
    return Scores(raw.softmax(0) if labels.exclusive else raw.sigmoid(), SOURCE, labels)


def by_the_book(scores: Scores, target: Grid) -> np.ndarray:
    """Interpolate every channel with SciPy in float64, then decide."""
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1)
    at = np.linalg.solve(
        SOURCE.affine,
        np.concatenate([target.world(index), np.ones((*target.shape, 1))], -1)[..., None],
    )[..., :3, 0]
    at = np.round(at, 9)
    channels = [
        map_coordinates(one.numpy().astype(float), np.moveaxis(at, -1, 0), order=1, mode="nearest")
        for one in scores.data
    ]
    outside = ((at < -0.5 - 1e-6) | (at > np.asarray(SOURCE.shape) - 0.5 + 1e-6)).any(-1)
    if scores.labels.exclusive:
        mask = np.array([0, *scores.labels.painted])[np.argmax(channels, 0)]
    else:
        mask = np.zeros(target.shape, int)
        for channel, value in zip(channels, scores.labels.painted, strict=True):
            mask[channel >= 0.5] = value
    return np.where(outside, 0, mask)


@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("name", TARGETS)
def test_deciding_slab_by_slab_equals_interpolating_everything(name: str, labels: Labels) -> None:
    scores = random_scores(labels)
    mine = scores.decided_on(TARGETS[name])
    assert isinstance(mine, LabelMap)
    assert mine.grid == TARGETS[name]
    book = by_the_book(scores, TARGETS[name])
    assert (mine.data != book).sum() == 0
    assert mine.data.any()


@pytest.mark.parametrize("name", ["finer", "turned and swapped", "oblique"])
def test_the_thickness_of_slabs_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = random_scores(EXCLUSIVE)
    whole = scores.decided_on(TARGETS[name]).data
    monkeypatch.setattr(decision, "_SLAB_FLOATS", 1)
    assert np.array_equal(scores.decided_on(TARGETS[name]).data, whole)


def everything(scores: Scores, target: Grid) -> np.ndarray:
    """The general way: every label interpolated in every voxel."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decision.Painting, "possible", staticmethod(lambda *_: False))
        return scores.decided_on(target).data


STRAIGHT = [name for name in TARGETS if name != "oblique"]


@pytest.mark.parametrize("levels", [2, 3, 1000])
@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("name", STRAIGHT)
def test_ties_and_all_are_decided_as_if_everything_were_interpolated(
    name: str, labels: Labels, levels: int
) -> None:
    """Few levels make equals in almost every voxel, many a field that is smooth and unequal."""
    chance = torch.Generator().manual_seed(levels)
    shape = (labels.channels, *SOURCE.shape)
    data = torch.randint(0, levels, shape, generator=chance) / (levels - 1)
    # Large pieces of one winner as well, as scans have.
    data[:, :5] = data[:, :1, :1, :1]
    scores = Scores(data, SOURCE, labels)
    assert np.array_equal(scores.decided_on(TARGETS[name]).data, everything(scores, TARGETS[name]))


@given(cuts=st.lists(st.integers(1, SOURCE.shape[0] - 1), max_size=4), data=st.data())
def test_rows_may_come_in_any_pieces(cuts: list[int], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(STRAIGHT))
    labels = data.draw(st.sampled_from([EXCLUSIVE, REGIONS]))
    scores = random_scores(labels)
    painting = decision.Painting(SOURCE, TARGETS[name], labels)
    edges = [0, *sorted(set(cuts)), SOURCE.shape[0]]
    for start, stop in pairwise(edges):
        painting.take(scores.data[:, start:stop].movedim(0, -1))
    assert np.array_equal(painting.mask, scores.decided_on(TARGETS[name]).data)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = random_scores(EXCLUSIVE)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    mask = scores.decided_on(TARGETS["finer"]).data
    assert np.array_equal(mask, everything(scores, TARGETS["finer"]))


@pytest.mark.parametrize("count", [1, 29, 31, 120])
def test_many_labels_and_many_regions_are_decided_alike(count: int) -> None:
    exclusive = Labels(tuple(Label(f"l{n}", (n,)) for n in range(1, count + 1)))
    nested = [Label(f"r{n}", tuple(range(n, count + 2))) for n in range(1, count + 1)]
    for labels in (exclusive, Labels((*nested, Label("last", (count + 1,))))):
        scores = random_scores(labels)
        found = scores.decided_on(TARGETS["finer"]).data
        assert np.array_equal(found, everything(scores, TARGETS["finer"]))


def test_of_equals_the_first_label_wins_and_the_background_before_all() -> None:
    level = torch.zeros(4, *SOURCE.shape)
    level[1:3] = 0.5
    assert (Scores(level, SOURCE, EXCLUSIVE).decided_on(SOURCE).data == 1).all()
    assert not Scores(torch.full_like(level, 0.25), SOURCE, EXCLUSIVE).decided_on(SOURCE).data.any()


def test_a_region_takes_what_reaches_one_half() -> None:
    level = torch.zeros(3, *SOURCE.shape)
    level[0] = 0.5
    level[2] = 0.4999
    assert (Scores(level, SOURCE, REGIONS).decided_on(SOURCE).data == 2).all()


def test_the_mean_of_models_is_the_mean_of_their_probabilities() -> None:
    several = [random_scores(EXCLUSIVE, seed) for seed in range(3)]
    before = [one.data.clone() for one in several]
    mean = Scores.mean(several)
    assert torch.allclose(mean.data, torch.stack(before).mean(0))
    for one, kept in zip(several, before, strict=True):
        assert torch.equal(one.data, kept)


def test_models_on_two_grids_are_not_averaged() -> None:
    other = Scores(random_scores(EXCLUSIVE).data, SOURCE.cropped((1, 0, 0), (10, 12, 7)), EXCLUSIVE)
    with pytest.raises(ValueError, match="one grid"):
        Scores.mean([random_scores(EXCLUSIVE), other])


def test_scores_of_another_shape_are_refused_at_birth() -> None:
    with pytest.raises(ValueError, match="scores are"):
        Scores(torch.zeros(3, *SOURCE.shape), SOURCE, EXCLUSIVE)


@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "oblique"])
@pytest.mark.parametrize("coarse", [False, True], ids=["random", "with ties"])
def test_what_a_gpu_does_is_what_the_compiled_loops_do(
    name: str, labels: Labels, coarse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = random_scores(labels, seed=5)
    if coarse:
        scores = Scores((scores.data * 4).round() / 4, SOURCE, labels)
    compiled = scores.decided_on(TARGETS[name]).data
    monkeypatch.setattr(decision.Painting, "_compiled", decision.Painting._by_torch)
    monkeypatch.setattr(by_torch, "_POINTS", 500)
    assert (scores.decided_on(TARGETS[name]).data != compiled).sum() == 0
