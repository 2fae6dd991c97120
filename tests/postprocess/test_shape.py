"""Smooth surfaces, and labels inside labels: laws and phantoms in mm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.masks import ORDERS, TUMOUR, mask_of, masks, turned

from medseg.errors import StudyError
from medseg.image import Grid, LabelMap
from medseg.postprocess import Inside, Smooth

laws = settings(max_examples=30, deadline=None)


def ball(
    shape: tuple[int, int, int], radius_mm: float, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    apart = (grid - (np.array(shape) - 1) / 2) * spacing_mm
    return (apart**2).sum(-1) <= radius_mm**2


@laws
@given(masks() | masks(TUMOUR), st.floats(0.3, 6), st.sampled_from(ORDERS))
def test_smoothing_is_the_same_in_every_order_of_storage(
    mask: LabelMap, radius_mm: float, codes: str
) -> None:
    step = Smooth(radius_mm=radius_mm)
    assert np.array_equal(step(turned(mask, codes)).data, turned(step(mask), codes).data)


@laws
@given(masks(), st.floats(0.3, 6))
def test_the_greatest_share_wins_as_by_the_formula(mask: LabelMap, radius_mm: float) -> None:
    """All values blurred over the whole mask, none of it cut to a box."""
    sigma = [radius_mm / side for side in mask.grid.spacing_mm]
    values = np.array([0, 1, 2, 5])
    shares = np.stack(
        [
            ndimage.gaussian_filter(
                (mask.data == v).astype(np.float64), sigma, truncate=3, mode="nearest"
            )
            for v in values
        ]
    )
    order = np.sort(shares, 0)
    clear = order[-1] - order[-2] > 1e-4
    smoothed = Smooth(radius_mm=radius_mm)(mask).data
    expected = values[shares.argmax(0)]
    assert np.array_equal(smoothed[clear], expected[clear])


@laws
@given(masks(), st.floats(0.3, 6))
def test_only_voxels_from_and_to_chosen_labels_change(mask: LabelMap, radius_mm: float) -> None:
    smoothed = Smooth(radius_mm=radius_mm, labels=("b",))(mask).data
    changed = smoothed != mask.data
    assert ((smoothed == 2) | (mask.data == 2))[changed].all()


def test_a_flat_surface_and_a_large_ball_stay() -> None:
    half = np.zeros((16, 10, 10), np.uint8)
    half[:8] = 1
    assert np.array_equal(Smooth(radius_mm=2)(mask_of(half)).data, half)
    shape, spacing = (41, 41, 17), (1.0, 1.0, 2.5)
    data = ball(shape, 16, spacing).astype(np.uint8)
    smoothed = Smooth(radius_mm=1.5)(mask_of(data, spacing_mm=spacing)).data
    assert 2 * (smoothed & data).sum() / (int(smoothed.sum()) + int(data.sum())) > 0.985


def test_spikes_go_and_pits_close() -> None:
    data = np.zeros((20, 20, 20), np.uint8)
    data[4:14, 4:16, 4:16] = 1
    data[14:18, 10, 10] = 1
    data[13, 6, 6] = 0
    smoothed = Smooth(radius_mm=1.5)(mask_of(data)).data
    assert not smoothed[15:].any()
    assert smoothed[13, 6, 6] == 1


def test_a_radius_is_in_mm_on_every_axis() -> None:
    """A plate one voxel thick: 1 mm thick it goes, 10 mm thick it stays, at the same radius."""
    for axis in range(3):
        plate = np.zeros((15, 15, 15), np.uint8)
        plate[tuple(7 if other == axis else slice(2, 13) for other in range(3))] = 1
        spacing: Any = tuple(10.0 if other == axis else 1.0 for other in range(3))
        assert not Smooth(radius_mm=2)(mask_of(plate)).data.any()
        assert Smooth(radius_mm=2)(mask_of(plate, spacing_mm=spacing)).data.any()


def test_the_surface_between_two_labels_has_no_gap_and_no_steps() -> None:
    data = np.zeros((24, 12, 12), np.uint8)
    data[2:12, 2:10, 2:10], data[12:22, 2:10, 2:10] = 1, 2
    data[12, 5:7, 5:7] = 1
    smoothed = Smooth(radius_mm=2)(mask_of(data)).data
    assert smoothed[11, 5, 5] == 1
    assert smoothed[12, 5, 5] == 2
    assert (smoothed[4:20, 4:8, 4:8] > 0).all()


def test_a_tumour_gives_what_it_loses_to_the_liver_it_lies_in() -> None:
    data = np.ones((15, 15, 15), np.uint8)
    data[4:11, 4:11, 4:11] = 5
    data[11:13, 7, 7] = 5
    data[0] = 0
    smoothed = Smooth(radius_mm=1.2, labels=("c",))(mask_of(data)).data
    assert smoothed[12, 7, 7] == 1
    assert np.array_equal(smoothed == 0, data == 0)
    assert (smoothed == 5).sum() > 200


def test_smoothing_nothing_changes_nothing() -> None:
    empty = mask_of(np.zeros((4, 4, 4)))
    assert Smooth(radius_mm=1)(empty) is empty
    data = np.zeros((9, 9, 9), np.uint8)
    data[2:7, 2:7, 2:7] = 1
    assert np.array_equal(Smooth(radius_mm=0.05)(mask_of(data)).data, data)


@laws
@given(masks(), st.floats(0, 15))
def test_what_stays_inside_is_what_has_a_voxel_of_the_other_near(
    mask: LabelMap, margin_mm: float
) -> None:
    """Every pair of voxels in world mm; those at the very margin may fall either way."""
    kept = Inside(label="a", within="b", margin_mm=margin_mm)(mask)
    places = mask.grid.world(np.argwhere(mask.where("a")))
    others = mask.grid.world(np.argwhere(mask.where("b")))
    apart = np.full(len(places), np.inf)
    if len(others):
        apart = np.sqrt(((places[:, None] - others[None]) ** 2).sum(-1).min(1))
    stays = kept.where("a")[mask.where("a")]
    clear = np.abs(apart - margin_mm) > 1e-5
    assert np.array_equal(stays[clear], (apart <= margin_mm)[clear])
    assert np.array_equal(kept.data[mask.data != 1], mask.data[mask.data != 1])
    assert not kept.data[mask.data == 1][~stays].any()


@laws
@given(masks(), st.floats(0, 15), st.sampled_from(ORDERS))
def test_inside_is_the_same_in_every_order_of_storage(
    mask: LabelMap, margin_mm: float, codes: str
) -> None:
    step = Inside(label="c", within="a", margin_mm=margin_mm)
    assert np.array_equal(step(turned(mask, codes)).data, turned(step(mask), codes).data)


@laws
@given(masks(), st.floats(0, 15))
def test_inside_is_scipys_map_of_distances_on_straight_grids(
    mask: LabelMap, margin_mm: float
) -> None:
    allowed = mask.where("b")
    if not allowed.any():
        return
    distance = ndimage.distance_transform_edt(~allowed, sampling=mask.grid.spacing_mm)
    kept = Inside(label="a", within="b", margin_mm=margin_mm)(mask)
    clear = np.abs(distance - margin_mm) > 1e-5
    expected = mask.where("a") & (distance <= margin_mm)
    assert np.array_equal(kept.where("a")[clear], expected[clear])


def test_a_margin_is_in_mm_on_every_axis() -> None:
    """Voxels 1, 2 and 3 steps off a point, at 1, 2 and 4 mm a step."""
    data = np.zeros((7, 7, 7), np.uint8)
    data[3, 3, 3] = 2
    for step in (1, 2, 3):
        data[3 + step, 3, 3] = data[3, 3 + step, 3] = data[3, 3, 3 + step] = 1
    mask = mask_of(data, spacing_mm=(1, 2, 4))
    for margin_mm, left in ((0, 0), (0.99, 0), (1, 1), (3.9, 4), (4, 6), (12, 9)):
        assert (Inside("a", "b", margin_mm)(mask).data == 1).sum() == left


def test_a_margin_is_true_on_a_grid_with_gantry_tilt() -> None:
    """On a sheared grid three steps up are also three steps aside."""
    affine = np.eye(4)
    affine[1, 2] = 1.0
    data = np.zeros((3, 9, 5), np.uint8)
    data[1, 6, 0], data[1, 3, 3] = 2, 1
    sheared = LabelMap(data, Grid(affine, data.shape), mask_of(data).labels)
    assert np.allclose(sheared.grid.world((1, 6, 0)) - sheared.grid.world((1, 3, 3)), (0, 0, -3))
    assert (Inside("a", "b", 3)(sheared).data == 1).sum() == 1
    assert (Inside("a", "b", 2.9)(sheared).data == 1).sum() == 0


def test_what_of_a_region_lies_elsewhere_stays_in_the_regions_around_it() -> None:
    data = np.zeros((12, 5, 5), np.uint8)
    data[1:11, 1:4, 1:4] = 2
    data[2:5, 2, 2] = 1
    data[9, 2, 2] = 4
    mask = mask_of(data, TUMOUR)
    # Enhancing tumour is core as well, so all of it is inside.
    assert Inside("enhancing", "core")(mask) is mask
    kept = Inside("core", "enhancing", 5)(mask).data
    assert np.argwhere(kept != data).tolist() == [[2, 2, 2], [3, 2, 2]]
    assert kept[2, 2, 2] == 2


def test_where_nothing_is_allowed_nothing_stays() -> None:
    data = np.zeros((5, 5, 5), np.uint8)
    data[1:3] = 1
    mask = mask_of(data)
    for margin_mm in (0, 2):
        assert not Inside("a", "b", margin_mm)(mask).data.any()
    assert Inside("b", "a")(mask) is mask


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="radius_mm is above 0, not 0"):
        Smooth(radius_mm=0)
    with pytest.raises(ValueError, match="margin_mm is 0 or more, not -1"):
        Inside("a", "b", -1)
    with pytest.raises(ValueError, match="always inside itself: 'a'"):
        Inside("a", "a")
    with pytest.raises(StudyError, match="no label of this mask is called 'x'"):
        Inside("a", "x")(mask_of(np.zeros((2, 2, 2))))
    with pytest.raises(StudyError, match="no label of this mask is called 'y'"):
        Smooth(1, ("y",))(mask_of(np.zeros((2, 2, 2))))
