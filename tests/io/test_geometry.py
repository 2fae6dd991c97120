"""Geometry: header numbers and the affine they amount to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from nibabel.quaternions import fillpositive, quat2mat
from support.affines import ORDERS, affines, shapes

from medseg.errors import StudyError
from medseg.image import Grid
from medseg.io import Geometry, tolerance_mm
from medseg.io.geometry import checked_grid, qform_affine, quaternion_of, shear_cautions


@settings(deadline=None, max_examples=100)
@given(affine=affines())
def test_a_quaternion_there_and_back_gives_the_affine(affine: np.ndarray) -> None:
    *quaternion, qfac = quaternion_of(affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    back = qform_affine(tuple(quaternion), tuple(affine[:3, 3]), (qfac, *spacing, 0, 0, 0, 0))
    assert np.allclose(back, affine, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(affine=affines())
def test_quaternions_mean_what_nibabel_takes_them_for(affine: np.ndarray) -> None:
    *quaternion, qfac = quaternion_of(affine)
    turn = quat2mat(fillpositive(quaternion, 1e-14)) * (1, 1, qfac)
    assert np.allclose(turn, affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(0)), atol=1e-6)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_storage_order_has_a_qform(order: np.ndarray) -> None:
    affine = np.eye(4)
    affine[:3, :3] = order * (1, 2, 3)
    geometry = Geometry.of(Grid(affine, (4, 5, 6)))
    assert (geometry.qform_code, geometry.sform_code, geometry.xyzt_units) == (1, 1, 2)


@settings(deadline=None, max_examples=30)
@given(affine=affines(), shape=shapes)
def test_the_geometry_of_a_grid_says_the_grid(
    affine: np.ndarray, shape: tuple[int, int, int]
) -> None:
    geometry = Geometry.of(Grid(affine, shape))
    assert geometry.shape == geometry.dims == shape
    assert np.array_equal(np.reshape(geometry.srow, (3, 4)), affine[:3])
    assert geometry.version == 1


def test_a_sheared_grid_has_no_qform() -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.2
    geometry = Geometry.of(Grid(affine, (20, 20, 20)))
    assert (geometry.qform_code, geometry.sform_code) == (0, 1)


def test_long_sides_need_nifti_2() -> None:
    assert Geometry.of(Grid(np.eye(4), (32767, 1, 1))).version == 1
    assert Geometry.of(Grid(np.eye(4), (32768, 1, 1))).version == 2


@pytest.mark.parametrize(
    ("spacing", "shape", "wanted"),
    [
        ((0.05, 1, 1), (2, 2, 2), 0.01),
        ((1, 1, 5), (10, 10, 10), 0.05),
        ((1, 1, 1), (512, 512, 100), 0.512),
    ],
)
def test_the_tolerance_is_the_largest_of_three(
    spacing: tuple[float, ...], shape: tuple[int, int, int], wanted: float
) -> None:
    assert tolerance_mm(Grid(np.diag([*spacing, 1]), shape)) == pytest.approx(wanted)


@pytest.mark.parametrize("side", [0.01, 100.0, float(np.float32(0.01)), float(np.float32(100.0))])
def test_spacings_at_the_limits_are_believed(side: float) -> None:
    assert checked_grid(np.diag([side, 1, 1, 1.0]), (2, 2, 2)).spacing_mm[0] == side


@pytest.mark.parametrize("side", [0.0099, 100.1])
def test_spacings_beyond_the_limits_are_not(side: float) -> None:
    with pytest.raises(StudyError, match="E_SPACING"):
        checked_grid(np.diag([1, side, 1, 1.0]), (2, 2, 2))


@pytest.mark.parametrize(("degrees", "told"), [(0.19, False), (0.21, True)])
def test_shear_is_told_above_a_fifth_of_a_degree(degrees: float, told: bool) -> None:
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(degrees))
    assert bool(shear_cautions(Grid(affine, (2, 2, 2)))) is told


def test_a_quaternion_a_little_too_long_is_taken_for_a_half_turn() -> None:
    affine = qform_affine((1.0004, 0, 0), (0, 0, 0), (1, 1, 1, 1))
    assert np.allclose(affine, np.diag([1, -1, -1, 1]), atol=1e-6)
