"""Thick slices are told from thin ones, and resampled one by one as scikit-image would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from medseg.image import Grid, Volume
from medseg.image.coarse import CoarseAxis
from medseg.image.resampling import resample
from medseg.image.splines import Mode

sides = st.integers(1, 12)
ORDERS = {"linear": 1, "cubic": 3}


def volume(shape: tuple[int, int, int]) -> Volume:
    data = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    return Volume(data, Grid(np.diag([1.0, 2.0, 0.5, 1.0]), shape))


@pytest.mark.parametrize(
    ("before", "after", "axis"),
    [
        ((1, 1, 5), (1, 1, 1), 2),
        ((1, 1, 1), (4, 1, 1), 0),
        ((5, 1, 1), (1, 1, 5), 0),
        ((3, 1, 1), (1, 3, 1), None),
        ((5, 5, 1), (1, 1, 5), None),
        ((5, 1, 5.0000001), (1, 1, 1), None),
    ],
)
def test_the_only_longest_side_is_the_coarse_one(
    before: tuple[float, ...], after: tuple[float, ...], axis: int | None
) -> None:
    assert CoarseAxis().of(before, after) == axis


def test_what_counts_as_coarse_can_be_said() -> None:
    assert CoarseAxis(above=1).of((1, 1, 1.5), (1, 1, 1)) == 2
    with pytest.raises(ValueError, match="above"):
        CoarseAxis(above=0.5)


@given(st.tuples(sides, sides, sides), st.tuples(sides, sides, sides))
def test_another_number_of_voxels_keeps_the_field_of_view(
    old: tuple[int, int, int], new: tuple[int, int, int]
) -> None:
    grid = volume(old).grid
    other = grid.resized(new)
    assert other.shape == new
    assert np.allclose(other.world((-0.5,) * 3), grid.world((-0.5,) * 3))
    assert np.allclose(other.world(np.array(new) - 0.5), grid.world(np.array(old) - 0.5))
    assert other.resized(old).near(grid, 1e-9)


@given(st.permutations(range(3)))
def test_axes_in_another_order_are_the_same_voxels(order: list[int]) -> None:
    scan = volume((3, 4, 5))
    turned = resample(scan, scan.grid.transposed(order))
    assert np.array_equal(turned.data, scan.data.transpose(0, *(1 + a for a in order)))
    assert np.allclose(turned.grid.world((0, 0, 0)), scan.grid.world((0, 0, 0)))


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(sides, sides, sides),
    st.tuples(sides, sides, sides),
    st.integers(0, 2),
    st.sampled_from(["linear", "cubic"]),
)
def test_slices_are_resampled_each_for_itself(
    old: tuple[int, int, int], new: tuple[int, int, int], across: int, mode: Mode
) -> None:
    scan = volume(old)
    found = resample(scan, scan.grid.resized(new), mode, apart=(across, "nearest")).data
    flat = [side for axis, side in enumerate(new) if axis != across]
    for channel, one in zip(scan.data, found, strict=True):
        slices = [
            resize(s, flat, ORDERS[mode], mode="edge", anti_aliasing=False)
            for s in np.moveaxis(channel.astype(np.float64), across, 0)
        ]
        at = len(slices) / new[across] * (np.arange(new[across]) + 0.5) - 0.5
        chosen = map_coordinates(np.arange(len(slices)), [at], order=0, mode="nearest")
        wanted = np.moveaxis(np.stack(slices)[chosen], 0, across)
        assert np.allclose(one, wanted, atol=2e-5)


@settings(deadline=None, max_examples=30)
@given(st.tuples(sides, sides, sides), st.tuples(sides, sides, sides), st.integers(0, 2))
def test_linear_apart_is_linear(
    old: tuple[int, int, int], new: tuple[int, int, int], across: int
) -> None:
    scan = volume(old)
    grid = scan.grid.resized(new)
    found = resample(scan, grid, "linear", apart=(across, "linear")).data
    assert np.allclose(found, resample(scan, grid, "linear").data, atol=1e-5)
