"""Logits are brought to the scan's grid and decided there as nnU-Net does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.transform import resize

from medseg.image import Grid, Label, Labels
from medseg.image.coarse import CoarseAxis
from medseg.inference.decision import Painting, decide
from medseg.inference.rule import Decision
from medseg.inference.scores import Scores
from medseg.inference.windows import importance, starts

EXCLUSIVE = Labels((Label("a", (1,)), Label("b", (2,))))
REGIONS = Labels(
    (Label("whole", (1, 2), paint=1), Label("core", (2,), paint=2), Label("odd", (1, 2), paint=1))
)
sides = st.integers(2, 9)
LOGITS = Decision("logits")
THICK = Decision("logits", CoarseAxis(), (4.0, 1.0, 1.0))


def logits(channels: int, shape: tuple[int, int, int]) -> torch.Tensor:
    random = np.random.default_rng(3).normal(size=(channels, *shape)) * 8
    return torch.from_numpy(random.astype(np.float32))


def resized(said: torch.Tensor, shape: tuple[int, int, int], thick: bool) -> np.ndarray:
    data = said.numpy().astype(np.float64)
    if not thick:
        return np.stack([resize(c, shape, 1, mode="edge", anti_aliasing=False) for c in data])
    at = data.shape[1] / shape[0] * (np.arange(shape[0]) + 0.5) - 0.5
    rows = map_coordinates(np.arange(data.shape[1]), [at], order=0, mode="nearest")
    flat = [
        [resize(s, shape[1:], 1, mode="edge", anti_aliasing=False) for s in c[rows]] for c in data
    ]
    return np.array(flat)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(sides, sides, sides),
    st.tuples(sides, sides, sides),
    st.sampled_from([LOGITS, THICK]),
    st.sampled_from([EXCLUSIVE, REGIONS]),
)
def test_logits_are_interpolated_and_then_decided(
    old: tuple[int, int, int], new: tuple[int, int, int], rule: Decision, labels: Labels
) -> None:
    said = logits(3, old)
    target = Grid(np.eye(4), new)
    source = target.resized(old)
    data = resized(said, new, rule is THICK)
    if labels.exclusive:
        wanted, close = data.argmax(0), np.sort(data, 0)
        sure = close[-1] - close[-2] > 1e-4
    else:
        wanted, sure = np.zeros(new, int), (np.abs(data) > 1e-4).all(0)
        for channel, value in zip(data, (1, 2, 1), strict=True):
            wanted[channel > 0] = value
    for found in (
        decide(said, source, target, labels, rule),
        painted(said, source, target, labels, rule),
        general(said, source, target, labels, rule),
    ):
        assert (found == wanted)[sure].all()


def painted(
    said: torch.Tensor, source: Grid, target: Grid, labels: Labels, rule: Decision
) -> np.ndarray:
    """Row by row, as a network that is still being asked gives them."""
    painting = Painting(source, target, labels, rule)
    for row in said.movedim(0, -1):
        painting.take(row[None])
    return painting.mask


def general(
    said: torch.Tensor, source: Grid, target: Grid, labels: Labels, rule: Decision
) -> np.ndarray:
    """The way of devices that are no CPU."""
    from unittest.mock import patch

    with patch.object(Painting, "possible", return_value=False):
        return decide(said, source, target, labels, rule)


def test_without_a_rule_the_grids_own_voxels_count() -> None:
    target = Grid(np.eye(4), (8, 4, 4))
    source = target.resized((2, 4, 4))
    assert Decision(coarse_axis=CoarseAxis()).nearest_axis(source, target) == 0
    assert Decision(coarse_axis=CoarseAxis(above=4.5)).nearest_axis(source, target) is None
    assert Decision(coarse_axis=CoarseAxis(mode="linear")).nearest_axis(source, target) is None
    thin = Decision(coarse_axis=CoarseAxis(), pixdim=(None, 1.0, 1.0))
    assert thin.nearest_axis(source, target) is None


def test_scores_of_two_rules_are_not_averaged() -> None:
    grid = Grid(np.eye(4), (2, 2, 2))
    one = Scores(logits(3, grid.shape), grid, EXCLUSIVE)
    other = Scores(logits(3, grid.shape), grid, EXCLUSIVE, decision=LOGITS)
    with pytest.raises(ValueError, match="one rule"):
        Scores.mean([one, other])


@given(length=st.integers(1, 300), window=st.integers(1, 200))
def test_windows_stand_where_nnunets_do(length: int, window: int) -> None:
    whole = max(length, window)
    count = int(np.ceil((whole - window) / (window * 0.5))) + 1
    apart = (whole - window) / (count - 1) if count > 1 else 0
    wanted = [int(np.round(apart * number)) for number in range(count)]
    assert starts(whole, window, 0.5, "nnunet") == wanted


@pytest.mark.parametrize("size", [(5, 8), (12, 31), (64, 40)])
def test_windows_weigh_as_nnunets_do(size: tuple[int, int]) -> None:
    unit = np.zeros(size)
    unit[size[0] // 2, size[1] // 2] = 1
    wanted = gaussian_filter(unit, [side / 8 for side in size], mode="constant")
    found = importance(size[0], "nnunet")[:, None] * importance(size[1], "nnunet")
    assert np.allclose(found, wanted / wanted.max(), rtol=1e-5)
