"""Holes: scipy and MONAI as witnesses, and phantoms of organs in organs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.masks import ORDERS, TUMOUR, mask_of, masks, turned

from medseg.image import LabelMap
from medseg.postprocess import FillHoles

laws = settings(max_examples=40, deadline=None)
steps = st.builds(
    FillHoles,
    labels=st.none() | st.just(("a",)),
    axis=st.none() | st.sampled_from([0, 1, 2]),
    max_ml=st.none() | st.floats(0.001, 1),
)


@laws
@given(masks(), steps)
def test_only_background_is_filled_and_only_with_chosen_labels(
    mask: LabelMap, step: FillHoles
) -> None:
    filled = step(mask).data
    changed = filled != mask.data
    assert not mask.data[changed].any()
    allowed = {1, 2, 5} if step.labels is None else {1}
    assert set(np.unique(filled[changed])) <= allowed
    assert np.array_equal(step(mask.with_data(filled)).data, filled)


@laws
@given(masks() | masks(TUMOUR), st.none() | st.sampled_from([0, 1, 2]), st.sampled_from(ORDERS))
def test_the_order_of_storage_changes_nothing(mask: LabelMap, axis: Any, codes: str) -> None:
    step = FillHoles(axis=axis)
    assert np.array_equal(step(turned(mask, codes)).data, turned(step(mask), codes).data)


@laws
@given(masks(least=2))
def test_one_label_alone_is_filled_as_by_scipy(mask: LabelMap) -> None:
    alone = mask.with_data(np.where(mask.data == 1, 1, 0).astype(np.uint8))
    expected = ndimage.binary_fill_holes(alone.data)
    assert np.array_equal(FillHoles()(alone).data > 0, expected)


@laws
@given(masks(least=2), st.sampled_from([0, 1, 2]))
def test_slices_are_filled_one_by_one_as_by_scipy(mask: LabelMap, axis: Any) -> None:
    straight = turned(mask, "RAS")
    alone = straight.with_data(np.where(straight.data == 1, 1, 0).astype(np.uint8))
    filled = FillHoles(axis=axis)(alone).data
    for number in range(alone.data.shape[axis]):
        expected = ndimage.binary_fill_holes(alone.data.take(number, axis))
        assert np.array_equal(filled.take(number, axis) > 0, expected)


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return ((grid - (np.array(shape) - 1) / 2) ** 2).sum(-1) <= radius**2


def test_a_mask_of_several_labels_is_filled_as_by_monai() -> None:
    from monai.transforms import FillHoles as Monai

    data = np.zeros((30, 15, 15), np.uint8)
    data[:15][ball((15, 15, 15), 6) & ~ball((15, 15, 15), 3)] = 1
    data[15:][ball((15, 15, 15), 5) & ~ball((15, 15, 15), 2)] = 5
    theirs = Monai(applied_labels=[1, 2, 5], connectivity=1)(data[None].copy())[0]
    mine = FillHoles()(mask_of(data)).data
    assert np.array_equal(mine, np.asarray(theirs))
    assert not np.array_equal(mine, data)


def test_a_hole_is_filled_by_the_label_that_encloses_it_most_closely() -> None:
    """A necrotic tumour (5) in a liver (1), with a gap between them: one is not the other."""
    shape = (21, 21, 21)
    data = np.zeros(shape, np.uint8)
    data[ball(shape, 10)] = 1
    data[ball(shape, 7)] = 0
    data[ball(shape, 5)] = 5
    data[ball(shape, 2)] = 0
    expected = np.where(ball(shape, 5), 5, np.where(ball(shape, 10), 1, 0))
    assert np.array_equal(FillHoles()(mask_of(data)).data, expected)
    liver_only = FillHoles(labels=("a",))(mask_of(data)).data
    assert np.array_equal(liver_only == 5, data == 5)
    assert (liver_only[ball(shape, 2)] == 1).all()


def test_a_hole_that_two_labels_close_together_is_no_ones() -> None:
    data = np.zeros((7, 7, 7), np.uint8)
    data[1:6, 1:6, 1:6] = 1
    data[3:6, 1:6, 1:6] = 2
    data[2:5, 2:5, 2:5] = 0
    assert np.array_equal(FillHoles()(mask_of(data)).data, data)


def test_what_opens_at_the_edge_of_the_scan_is_no_hole() -> None:
    data = np.ones((5, 5, 5), np.uint8)
    data[2, 2, :3] = 0
    assert FillHoles()(mask_of(data)).data[2, 2, 0] == 0
    data[2, 2, 0] = 1
    assert FillHoles()(mask_of(data)).data.all()


def test_holes_up_to_a_volume_are_filled() -> None:
    """Holes of 1 and 8 voxels of 1 x 2 x 3 mm are 6 and 48 microlitres."""
    data = np.zeros((14, 6, 6), np.uint8)
    data[1:13, 1:5, 1:5] = 2
    data[2, 2, 2] = 0
    data[8:10, 2:4, 2:4] = 0
    for most_ml, filled in ((0.0059, 0), (0.006, 1), (0.0479, 1), (0.048, 9)):
        mask = mask_of(data, spacing_mm=(1, 2, 3))
        assert (FillHoles(max_ml=most_ml)(mask).data != data).sum() == filled


def test_slices_lie_across_the_patient_however_the_scan_is_stored() -> None:
    """A tube along z: a hole in axial slices only."""
    data = np.zeros((5, 5, 4), np.uint8)
    data[1:4, 1:4] = 1
    data[2, 2] = 0
    mask = mask_of(data)
    for axis, filled in ((0, 0), (1, 0), (2, 4), (None, 0)):
        step = FillHoles(axis=axis)  # type: ignore[arg-type]
        assert (step(mask).data != data).sum() == filled
        stored = turned(mask, "SLP")
        assert (step(stored).data != stored.data).sum() == filled


def test_a_region_fills_with_the_value_it_is_written_by() -> None:
    data = np.zeros((9, 9, 9), np.uint8)
    data[1:8, 1:8, 1:8] = 2
    data[2:7, 2:7, 2:7] = 4
    data[3, 3, 3] = 0
    data[1, 4, 4] = 2
    data[4, 4, 4] = 1
    filled = FillHoles(labels=("whole",))(mask_of(data, TUMOUR)).data
    assert filled[3, 3, 3] == 2
    assert filled[4, 4, 4] == 1
    # Enhancing tumour and core enclose the hole as closely as the whole does.
    assert FillHoles(labels=("enhancing",))(mask_of(data, TUMOUR)).data[3, 3, 3] == 4


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (5, 1, 1)])
def test_scans_of_a_voxel_or_a_line_are_no_special_case(shape: tuple[int, int, int]) -> None:
    mask = mask_of(np.ones(shape))
    assert FillHoles()(mask) is mask
    assert FillHoles(axis=0)(mask) is mask
    one = np.zeros(shape)
    one[0, 0, 0] = 1
    for axis in (None, 0, 1, 2):
        assert FillHoles(axis=axis)(mask_of(one)).data.sum() == 1  # type: ignore[arg-type]


def test_a_scan_of_one_slice_is_filled_in_that_slice() -> None:
    ring = np.zeros((5, 5, 1), np.uint8)
    ring[1:4, 1:4] = 1
    ring[2, 2] = 0
    assert FillHoles()(mask_of(ring)).data.sum() == 9


def test_an_empty_mask_is_handed_on() -> None:
    empty = mask_of(np.zeros((4, 4, 4)))
    assert FillHoles()(empty) is empty


def test_a_hole_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="max_ml is above 0, not 0"):
        FillHoles(max_ml=0)
