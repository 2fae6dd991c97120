"""Voxels change grid: exactly where they can, and as independent code would elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from support.affines import affines
from support.volumes import where_it_lies

from medseg.image import Grid, Label, LabelMap, Labels, Volume
from medseg.image.box import box_around
from medseg.image.resampling import Mode, axis_maps, resample, resample_labels

LABELS = Labels((Label("a", (1,)), Label("b", (700,))))
shapes = st.tuples(*[st.integers(1, 9)] * 3)


def volume(grid: Grid, channels: int = 2) -> Volume:
    data = np.random.default_rng(1).normal(size=(channels, *grid.shape)).astype(np.float32)
    return Volume(data, grid)


@given(affines(), shapes, st.sampled_from(["LPS", "SRA", "IPL", "AIR"]), st.integers(0, 4))
@settings(deadline=None, max_examples=60)
def test_crop_pad_flip_and_swap_there_and_back_are_exact(
    affine: np.ndarray, shape: tuple[int, int, int], order: str, more: int
) -> None:
    scan = volume(Grid(affine, shape))
    wide = scan.grid.oriented(order)
    wide = wide.cropped((-more, 0, -1), [n + more for n in wide.shape])
    there = resample(scan, wide, outside=-9.0)
    back = resample(there, scan.grid)
    assert np.array_equal(back.data, scan.data)
    assert (there.data == -9.0).sum() == scan.channels * (
        np.prod(wide.shape) - np.prod(scan.grid.shape)
    )


@given(affines(), shapes, st.tuples(*[st.floats(0.4, 3)] * 3))
@settings(deadline=None, max_examples=40)
def test_interpolated_positions_are_positions(
    affine: np.ndarray, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    scan = where_it_lies(Grid(affine, shape))
    target = scan.grid.spaced(spacing)
    at = positions(target, scan.grid)
    far = np.reshape(np.asarray(shape) - 1, (3, 1, 1, 1))
    within = ((at >= 0) & (at <= far)).all(0)
    mine, there = resample(scan, target).data, where_it_lies(target).data
    assert np.allclose(mine[:, within], there[:, within], atol=2e-3)


def positions(target: Grid, source: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1)
    world = np.concatenate([target.world(index), np.ones((*target.shape, 1))], -1)
    return np.moveaxis(np.linalg.solve(source.affine, world[..., None])[..., :3, 0], -1, 0)


@given(affines(), shapes, st.tuples(*[st.floats(0.5, 4)] * 3), affines())
@settings(deadline=None, max_examples=40)
def test_linear_interpolation_agrees_with_scipy_on_any_grid(
    affine: np.ndarray,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    elsewhere: np.ndarray,
) -> None:
    scan = volume(Grid(affine, shape))
    moved = affine.copy()
    moved[:3, :3] = elsewhere[:3, :3]
    for target in (scan.grid.spaced(spacing), Grid(moved, (5, 4, 6))):
        mine = resample(scan, target).data
        at = positions(target, scan.grid)
        book = [map_coordinates(c.astype(float), at, order=1, mode="nearest") for c in scan.data]
        assert np.allclose(mine, book, atol=1e-4)


def test_the_nearest_voxel_is_the_one_whose_centre_is_nearest() -> None:
    scan = volume(Grid(np.diag([2.0, 1.5, 3.0, 1.0]), (9, 11, 8)))
    turned = scan.grid.affine.copy()
    turned[:2, :2] = [[1.6, -0.9], [1.2, 1.2]]
    for target in (scan.grid.spaced((1.3, 1.1, 1.7)), Grid(turned, (5, 6, 7))):
        at = np.rint(positions(target, scan.grid)).astype(int)
        near = tuple(np.clip(a, 0, side - 1) for a, side in zip(at, scan.grid.shape, strict=True))
        mine = resample(scan, target, "nearest").data
        assert np.array_equal(mine, scan.data[(slice(None), *near)])


def test_a_spline_agrees_with_scipy_and_stays_in_range() -> None:
    scan = volume(Grid(np.diag([2.0, 1.5, 3.0, 1.0]), (9, 11, 8)))
    target = scan.grid.spaced((1.1, 1.2, 1.3))
    mine = resample(scan, target, "cubic").data
    at = positions(target, scan.grid)
    book = [map_coordinates(c.astype(float), at, order=3, mode="nearest") for c in scan.data]
    limits = [(c.min(), c.max()) for c in scan.data]
    clipped = [np.clip(b, *limit) for b, limit in zip(book, limits, strict=True)]
    assert np.allclose(mine, clipped, atol=1e-4)
    assert not np.allclose(mine, book, atol=1e-4)


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(0.4, 3)] * 3),
    st.permutations("RAS"),
)
@settings(deadline=None, max_examples=40)
def test_a_spline_by_matrices_is_scipys_own_along_every_order_of_axes(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], axcodes: list[str]
) -> None:
    scan = volume(Grid(np.diag([1.0, 1.5, 2.0, 1.0]), shape))
    target = scan.grid.spaced(spacing).oriented("".join(axcodes)).cropped((-2, 0, 1), (9, 5, 7))
    at = positions(target, scan.grid)
    for mine, channel in zip(resample(scan, target, "cubic").data, scan.data, strict=True):
        book = map_coordinates(channel.astype(float), at, order=3, mode="nearest")
        assert np.allclose(mine, np.clip(book, channel.min(), channel.max()), atol=2e-4)


def test_a_spline_is_scikit_images_order_3_once_that_is_clipped() -> None:
    """In Hounsfield units, where both cover one field of view with whole numbers of voxels."""
    from skimage.transform import resize

    chance = np.random.default_rng(0)
    data = chance.normal(0, 400, (1, 40, 32, 20)).astype(np.float32)
    scan = Volume(data, Grid(np.diag([0.7, 0.8, 3.0, 1.0]), (40, 32, 20)))
    target = scan.grid.spaced((0.7 * 40 / 19, 0.8 * 32 / 41, 3.0 * 20 / 30))
    assert target.shape == (19, 41, 30)
    theirs = resize(
        data[0], target.shape, order=3, mode="edge", anti_aliasing=False, preserve_range=True
    )
    mine = resample(scan, target, "cubic").data[0]
    assert np.abs(mine - np.clip(theirs, data.min(), data.max())).max() < 1e-3


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_constant_stays_constant_and_outside_is_filled(mode: Mode) -> None:
    grid = Grid(np.diag([1.0, 1.0, 2.0, 1.0]), (6, 6, 6))
    scan = Volume(np.full((1, 6, 6, 6), 7, np.float32), grid)
    larger = grid.spaced((0.7, 0.8, 0.9)).cropped((-3, 0, 0), (9, 7, 13))
    filled = resample(scan, larger, mode, outside=-1.0).data
    assert set(np.unique(np.round(filled, 4))) == {-1.0, 7.0}
    assert (filled[:, :2] == -1).all()
    assert resample(scan, larger, mode).data == pytest.approx(7, abs=1e-4)


def test_a_grid_that_is_the_same_costs_nothing() -> None:
    scan = volume(Grid(np.eye(4), (3, 3, 3)))
    assert resample(scan, Grid(np.eye(4), (3, 3, 3))) is scan


def test_oblique_pairs_have_no_axis_maps() -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    assert axis_maps(Grid(turned, (3, 3, 3)), Grid(np.eye(4), (3, 3, 3))) is None


def mask(grid: Grid) -> LabelMap:
    data = np.zeros(grid.shape, np.uint16)
    data[2:7, 2:7, 2:7] = 1
    data[4:8, 4:8, 3:6] = 700
    return LabelMap(data, grid, LABELS)


def test_masks_turn_exactly_and_are_background_beyond() -> None:
    there = mask(Grid(np.diag([1.0, -2.0, 1.5, 1.0]), (9, 10, 8)))
    wide = there.grid.oriented("IPR").cropped((-2, -2, -2), (12, 12, 12))
    turned = resample_labels(there, wide)
    assert np.array_equal(resample_labels(turned, there.grid).data, there.data)
    assert np.bincount(turned.data.ravel())[1:].sum() == (there.data > 0).sum()


def test_masks_are_decided_by_occupancy_not_by_the_nearest_voxel() -> None:
    there = mask(Grid(np.diag([2.0, 2.0, 2.0, 1.0]), (10, 10, 10)))
    fine = there.grid.spaced((0.5, 0.5, 0.5))
    result = resample_labels(there, fine)
    at = positions(fine, there.grid)
    shares = [
        map_coordinates((there.data == v).astype(float), at, order=1, mode="nearest")
        for v in (0, 1, 700)
    ]
    book = np.array([0, 1, 700])[np.argmax(shares, 0)]
    assert (result.data != book).mean() < 1e-3
    assert resample_labels(there, there.grid) is there


def test_values_that_the_table_does_not_know_are_kept() -> None:
    grid = Grid(np.diag([2.0, 2.0, 2.0, 1.0]), (6, 6, 6))
    small = Labels((Label("a", (1,)),))
    there = LabelMap(np.full(grid.shape, 300, np.uint16), grid, small)
    assert np.unique(resample_labels(there, grid.spaced((0.9, 1.1, 3))).data).tolist() == [300]


def test_beyond_an_oblique_masks_field_of_view_is_background() -> None:
    there = mask(Grid(np.diag([2.0, 2.0, 2.0, 1.0]), (10, 10, 10)))
    full = there.with_data(np.ones_like(there.data))
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turned[:3, 3] = -6
    result = resample_labels(full, Grid(turned, (30, 30, 30)))
    at = positions(result.grid, there.grid)
    assert np.array_equal(result.data == 1, ((at >= -0.5) & (at <= 9.5)).all(0))


@given(st.integers(0, 3), st.integers(0, 5))
def test_a_box_holds_what_is_marked_and_its_margin(first: int, margin: int) -> None:
    marked = np.zeros((9, 8, 7), bool)
    assert box_around(marked, (margin,) * 3) is None
    marked[first + 1, 2, 3] = marked[first + 3, 4, 3] = True
    start, stop = box_around(marked, (margin, 0, 0)) or ((), ())
    assert start == (max(0, first + 1 - margin), 2, 3)
    assert stop == (min(9, first + 4 + margin), 5, 4)


@pytest.mark.parametrize("how", ["as C has it", "as NIfTI has it", "turned and backwards"])
def test_interpolation_is_the_same_to_the_last_bit_however_voxels_lie_in_memory(how: str) -> None:
    data = np.random.default_rng(3).normal(size=(2, 9, 11, 7)).astype(np.float32)
    grid = Grid(np.diag([1.0, 1.5, 2.0, 1.0]), (9, 11, 7))
    lain = {
        "as C has it": data,
        "as NIfTI has it": np.ascontiguousarray(data.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1),
        "turned and backwards": np.ascontiguousarray(data[:, ::-1, :, ::-1])[:, ::-1, :, ::-1],
    }[how]
    for target in (grid.spaced((0.7, 2.1, 1.1)), grid.spaced((1.3, 1.3, 1.3)).oriented("SPL")):
        straight = resample(Volume(data, grid), target).data
        assert np.array_equal(resample(Volume(lain, grid), target).data, straight)


def test_linear_interpolation_goes_along_one_axis_after_the_other() -> None:
    data = np.random.default_rng(4).normal(size=(1, 6, 5, 8)).astype(np.float32)
    grid = Grid(np.eye(4), (6, 5, 8))
    target = grid.spaced((0.6, 1.7, 0.45))
    wanted = data[0]
    for axis in range(3):
        at = np.clip(
            target.world(np.eye(3)[axis] * np.arange(target.shape[axis])[:, None])[:, axis],
            0,
            data.shape[1 + axis] - 1,
        )
        low = np.minimum(np.floor(at).astype(int), data.shape[1 + axis] - 2)
        share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        first, second = wanted.take(low, axis), wanted.take(low + 1, axis)
        wanted = first + (second - first) * share
    assert np.array_equal(resample(Volume(data, grid), target).data[0], wanted)
