"""Label tables: exclusive labels, overlapping regions, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.image import Grid, Label, LabelMap, Labels, Volume, mask_dtype

BRATS = (Label("whole", (1, 2, 4)), Label("core", (1, 4)), Label("enhancing", (4,)))


def test_regions_are_painted_by_the_value_no_later_region_holds() -> None:
    labels = Labels(BRATS)
    assert not labels.exclusive
    assert labels.painted == (2, 1, 4)
    assert labels.channels == 3


def test_exclusive_labels_have_a_channel_for_the_background() -> None:
    labels = Labels((Label("a", (3,)), Label("b", (1,))), ignore=255)
    assert labels.exclusive
    assert labels.channels == 3
    assert labels.painted == (3, 1)
    assert labels.values == {1, 3}
    assert [label.name for label in labels] == ["a", "b"]
    assert len(labels) == 2
    assert labels["b"].values == (1,)
    with pytest.raises(KeyError):
        labels["c"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Labels(()), "at least one label"),
        (lambda: Labels((Label("a", (1,)), Label("a", (2,)))), "name of its own"),
        (lambda: Labels((Label("a", (1,)),), ignore=1), "also a label's value"),
        (lambda: Labels((Label("a", (1,)),), ignore=0), "background"),
        (lambda: Labels(BRATS[::-1]), "exactly one value"),
        (lambda: Labels((Label("a", (1, 2)), Label("b", (3,)))), "exactly one value"),
        (lambda: Label("", (1,)), "has a name"),
        (lambda: Label("a", ()), "one value or several"),
        (lambda: Label("a", (1, 1)), "different"),
        (lambda: Label("a", (0,)), "values run from 1"),
        (lambda: Label("a", (65536,)), "65535"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_a_sentence(make: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()  # type: ignore[operator]


def test_volumes_are_voxels_times_millilitres() -> None:
    grid = Grid(np.diag([2.0, -5.0, 10.0, 1.0]), (4, 4, 4))
    data = np.zeros(grid.shape, np.uint8)
    data[0] = 1
    data[1, 0] = 2
    data[2, 0, 0] = 4
    found = LabelMap(data, grid, Labels(BRATS)).volumes_ml()
    assert found == pytest.approx({"whole": 2.1, "core": 1.7, "enhancing": 0.1})


def test_a_region_is_where_any_of_its_values_is() -> None:
    data = np.arange(6, dtype=np.uint8).reshape(6, 1, 1)
    mask = LabelMap(data, Grid(np.eye(4), (6, 1, 1)), Labels(BRATS))
    assert mask.where("core").ravel().tolist() == [False, True, False, False, True, False]
    assert mask.where("enhancing").ravel().tolist() == [False, False, False, False, True, False]


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]), st.booleans())
@settings(deadline=None, max_examples=30)
def test_volumes_are_those_of_counting_each_region(seed: int, dtype: type, turned: bool) -> None:
    chance = np.random.default_rng(seed)
    data = chance.integers(0, 6, chance.integers(1, 9, 3)).astype(dtype)
    data = data.T if turned else data
    mask = LabelMap(data, Grid(np.diag([1.0, 2.0, 3.0, 1.0]), data.shape), Labels(BRATS))
    by_hand = {label.name: np.isin(data, label.values).sum() * 0.006 for label in BRATS}
    assert mask.volumes_ml() == pytest.approx(by_hand)


@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_masks_take_the_smallest_type_that_holds_their_values(highest: int, dtype: type) -> None:
    assert mask_dtype(Labels((Label("a", (highest,)),))) is dtype
    assert mask_dtype(Labels((Label("a", (1,)),), ignore=highest)) is dtype


def test_what_does_not_fill_its_grid_is_refused_at_birth() -> None:
    grid = Grid(np.eye(4), (2, 2, 2))
    labels = Labels((Label("a", (1,)),))
    with pytest.raises(ValueError, match="label map"):
        LabelMap(np.zeros((2, 2, 3), np.uint8), grid, labels)
    with pytest.raises(ValueError, match="label map"):
        LabelMap(np.zeros((2, 2, 2), np.int32), grid, labels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float32"):
        Volume(np.zeros((1, 2, 2, 2)), grid)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fill the grid"):
        Volume(np.zeros((1, 2, 2, 3), np.float32), grid)
