"""Grids: where voxels stand, whatever their order, size and shear."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.affines import ORDERS as STORED
from support.affines import affines, shapes
from support.volumes import where_it_lies

from medseg.image import Grid
from medseg.image.resampling import resample

ORDERS = ["".join(codes) for pairs in permutations(("LR", "PA", "IS")) for codes in product(*pairs)]


def grids() -> st.SearchStrategy[Grid]:
    return st.builds(Grid, affines(), shapes)


@given(grids(), st.sampled_from(ORDERS))
@settings(deadline=None, max_examples=80)
def test_turning_there_and_back_changes_nothing(grid: Grid, order: str) -> None:
    back = grid.oriented(order).oriented(grid.axcodes)
    assert back.shape == grid.shape
    assert np.allclose(back.affine, grid.affine, atol=1e-9)


@given(grids(), st.sampled_from(ORDERS))
@settings(deadline=None, max_examples=80)
def test_a_turned_grid_has_the_axes_asked_for_and_the_same_corners(grid: Grid, order: str) -> None:
    turned = grid.oriented(order)
    assert turned.axcodes == order
    assert sorted(turned.shape) == sorted(grid.shape)
    far, there = np.array(grid.shape) - 1, np.array(turned.shape) - 1
    mine = np.array(sorted(np.round(grid.world([(0, 0, 0), far]).sum(0), 6)))
    theirs = np.array(sorted(np.round(turned.world([(0, 0, 0), there]).sum(0), 6)))
    assert np.allclose(mine, theirs, atol=1e-5)


@given(grids(), st.sampled_from(ORDERS))
@settings(deadline=None, max_examples=40)
def test_every_voxel_stays_where_it_was_when_axes_are_turned(grid: Grid, order: str) -> None:
    turned = resample(where_it_lies(grid), grid.oriented(order))
    assert np.allclose(turned.data, where_it_lies(turned.grid).data, atol=1e-3)


def stored(grid: Grid, order: np.ndarray) -> Grid:
    """The same voxels in another storage order; columns are copied and negated, not computed."""
    affine, shape = grid.affine.copy(), []
    for new in range(3):
        old = int(np.flatnonzero(order[:, new])[0])
        sign, side = order[old, new], grid.shape[old]
        affine[:3, new] = sign * grid.affine[:3, old]
        affine[:3, 3] += grid.affine[:3, old] * (0 if sign > 0 else side - 1)
        shape.append(side)
    x, y, z = shape
    return Grid(affine, (x, y, z))


@pytest.mark.parametrize("turn", [(0, 0, 45), (45, 0, 0), (45, 45, 0), (0, 90, 45), (30, 45, 60)])
def test_half_way_between_two_directions_all_storage_orders_are_turned_alike(
    turn: tuple[float, float, float],
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.diag([1, 2, 3])
    grid = Grid(affine.astype(np.float32).astype(float), (4, 5, 6))
    first = grid.oriented("RAS")
    for order in STORED:
        other = stored(grid, order).oriented("RAS")
        assert other.shape == first.shape
        assert np.allclose(other.affine, first.affine, atol=1e-5)


@given(grids())
@settings(deadline=None, max_examples=60)
def test_axcodes_agree_with_nibabel_unless_two_directions_are_near(grid: Grid) -> None:
    cosines = np.sort(np.abs(grid.affine[:3, :3] / grid.spacing_mm), axis=0)
    if (cosines[2] - cosines[1] > 0.15).all():
        assert grid.axcodes == "".join(nib.aff2axcodes(grid.affine))


@given(grids(), st.tuples(*[st.integers(-4, 4)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
@settings(deadline=None, max_examples=60)
def test_a_crop_keeps_every_voxel_where_it_was(
    grid: Grid, start: tuple[int, int, int], sides: tuple[int, int, int]
) -> None:
    stop = [a + n for a, n in zip(start, sides, strict=True)]
    cropped = grid.cropped(start, stop)
    assert cropped.shape == sides
    assert np.allclose(cropped.world((0, 0, 0)), grid.world(start))


@given(grids(), st.tuples(*[st.floats(0.4, 6)] * 3))
@settings(deadline=None, max_examples=60)
def test_another_spacing_is_exact_and_keeps_the_centre(
    grid: Grid, spacing: tuple[float, float, float]
) -> None:
    other = grid.spaced(spacing)
    assert np.allclose(other.spacing_mm, spacing)
    mine, theirs = ((np.array(g.shape) - 1) / 2 for g in (grid, other))
    assert np.allclose(grid.world(mine), other.world(theirs), atol=1e-6)


def test_a_sheared_voxel_has_the_volume_of_its_box_and_an_angle() -> None:
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    affine[1, 2] = np.tan(np.radians(10)) * 5
    grid = Grid(affine, (3, 3, 3))
    assert grid.voxel_ml == pytest.approx(0.01)
    assert grid.shear_degrees == pytest.approx(10)
    assert Grid(np.eye(4), (3, 3, 3)).shear_degrees == pytest.approx(0)


@given(affines(), st.tuples(*[st.floats(-1.5, 1.5)] * 3))
@settings(deadline=None, max_examples=40)
def test_a_voxels_volume_is_that_of_the_box_between_its_corners(
    affine: np.ndarray, shears: tuple[float, float, float]
) -> None:
    affine = affine.copy()
    affine[:3, :3] = affine[:3, :3] @ (np.eye(3) + np.diag(shears[:2], 1) + np.diag(shears[2:], 2))
    grid = Grid(affine, (2, 2, 2))
    origin, x, y, z = grid.world([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
    box = abs(np.dot(np.cross(x - origin, y - origin), z - origin))
    assert grid.voxel_ml == pytest.approx(box / 1000)


def test_near_measures_corners_not_numbers() -> None:
    affine = np.eye(4)
    affine[0, 0] = 1.0001
    grid, other = Grid(np.eye(4), (101, 5, 5)), Grid(affine, (101, 5, 5))
    assert grid.farthest_corner_mm(other) == pytest.approx(0.01)
    assert grid.near(other, 0.011)
    assert not grid.near(other, 0.009)
    assert not grid.near(Grid(np.eye(4), (101, 5, 4)), 1.0)


def test_equal_grids_are_equal_and_frozen() -> None:
    grid = Grid(np.eye(4), (2, 3, 4))
    assert grid == Grid(np.eye(4), (2, 3, 4))
    assert hash(grid) == hash(Grid(np.eye(4), (2, 3, 4)))
    assert grid != Grid(np.eye(4), (2, 3, 5))
    assert grid != "a grid"
    minus = np.eye(4)
    minus[:3, 3] = -0.0
    assert hash(Grid(minus, (2, 3, 4))) == hash(grid)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


@pytest.mark.parametrize(
    ("affine", "shape", "told"),
    [
        (np.eye(3), (1, 1, 1), r"\(4, 4\)"),
        (np.diag([1.0, 1, 0, 1]), (1, 1, 1), "full rank"),
        (np.full((4, 4), np.nan), (1, 1, 1), r"\(4, 4\) and ends in"),
        (np.diag([np.inf, 1, 1, 1]), (1, 1, 1), "finite"),
        (np.eye(4), (1, 0, 1), "at least one voxel"),
        (np.eye(4), (1, 1), "three sides"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_at_birth(
    affine: np.ndarray, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Grid(affine, shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("codes", ["RAR", "RA", "XYZ", "RASL"])
def test_codes_name_each_direction_once(codes: str) -> None:
    with pytest.raises(ValueError, match="axcodes"):
        Grid(np.eye(4), (2, 2, 2)).oriented(codes)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -1, 1), (1, 1, np.nan)])
def test_a_spacing_is_three_lengths(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="spacing_mm"):
        Grid(np.eye(4), (2, 2, 2)).spaced(spacing)
