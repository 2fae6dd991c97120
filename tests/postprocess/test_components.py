"""Connected components: laws, phantoms in ml, and scipy and MONAI as witnesses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.masks import ORDERS, ORGANS, TUMOUR, mask_of, masks, turned

from medseg.errors import StudyError
from medseg.image import Label, LabelMap, Labels
from medseg.postprocess import POSTPROCESS
from medseg.postprocess.components import KeepLargest, RemoveSmall

laws = settings(max_examples=40, deadline=None)
steps = st.sampled_from(
    [
        KeepLargest(),
        KeepLargest(connectivity=6, count=2),
        KeepLargest(connectivity=18),
        RemoveSmall(min_voxels=3),
        RemoveSmall(min_voxels=5, connectivity=6),
    ]
)
any_masks = masks() | masks(TUMOUR)


def cube(side: int) -> np.ndarray:
    return np.ones((side, side, side), np.uint8)


@laws
@given(any_masks, steps)
def test_doing_it_twice_changes_nothing_more(mask: LabelMap, step: KeepLargest) -> None:
    once = step(mask)
    assert np.array_equal(step(once).data, once.data)


@laws
@given(any_masks, steps)
def test_no_voxel_is_given_to_a_label_that_did_not_have_it(
    mask: LabelMap, step: KeepLargest
) -> None:
    cleaned = step(mask)
    assert cleaned.grid is mask.grid
    assert cleaned.data.dtype == mask.data.dtype
    for name in mask.labels.names:
        assert not (cleaned.where(name) & ~mask.where(name)).any()


@laws
@given(any_masks, steps, st.sampled_from(ORDERS))
def test_the_order_of_storage_changes_nothing(
    mask: LabelMap, step: KeepLargest, codes: str
) -> None:
    assert np.array_equal(step(turned(mask, codes)).data, turned(step(mask), codes).data)


@laws
@given(masks(), st.sampled_from([6, 18, 26]), st.integers(1, 3))
def test_what_is_kept_is_what_scipy_finds_largest(mask: LabelMap, faces: Any, count: int) -> None:
    kept = KeepLargest(connectivity=faces, count=count)(mask)
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[faces])
    for name in mask.labels.names:
        numbered, found = ndimage.label(mask.where(name), structure)
        sizes = np.sort(np.bincount(numbered.ravel(), minlength=found + 1)[1:])[::-1]
        left, remaining = ndimage.label(kept.where(name), structure)
        assert remaining == min(found, count)
        after = np.sort(np.bincount(left.ravel(), minlength=remaining + 1)[1:])[::-1]
        assert after.tolist() == sizes[:count].tolist()


@laws
@given(masks(), st.integers(1, 9))
def test_what_is_removed_is_what_scipy_finds_small(mask: LabelMap, least: int) -> None:
    kept = RemoveSmall(min_voxels=least)(mask)
    expected = mask.data.copy()
    for name in mask.labels.names:
        numbered, _ = ndimage.label(mask.where(name), np.ones((3, 3, 3)))
        small = np.bincount(numbered.ravel()) < least
        small[0] = False
        expected[small[numbered]] = 0
    assert np.array_equal(kept.data, expected)


def test_the_largest_is_monais() -> None:
    from monai.transforms import KeepLargestConnectedComponent

    chance = np.random.default_rng(2)
    data = ndimage.zoom(chance.choice([0, 0, 1, 2, 5], (6, 7, 5)), 3, order=0).astype(np.uint8)
    data[chance.random(data.shape) < 0.2] = 0
    for connectivity, theirs in ((6, 1), (18, 2), (26, 3)):
        keep = KeepLargestConnectedComponent(
            applied_labels=[1, 2, 5], is_onehot=False, independent=True, connectivity=theirs
        )
        mine = KeepLargest(connectivity=connectivity)(mask_of(data)).data  # type: ignore[arg-type]
        assert np.array_equal(mine, keep(data[None].copy())[0])
        assert not np.array_equal(mine, data)


def test_only_chosen_labels_lose_anything() -> None:
    data = np.zeros((9, 9, 9), np.uint8)
    for value, at in ((1, 0), (2, 3), (5, 6)):
        data[at : at + 2, :2, :2] = value
        data[at, 5, 5] = value
    for step in (KeepLargest(labels=("b",)), RemoveSmall(labels=("b",), min_voxels=2)):
        cleaned = step(mask_of(data)).data
        assert np.argwhere(cleaned != data).tolist() == [[3, 5, 5]]
        assert cleaned[3, 5, 5] == 0


def test_volumes_in_ml_are_those_of_the_patient() -> None:
    """Components of 8, 27 and 64 voxels of 0.5 x 0.8 x 2.5 mm: 8, 27 and 64 microlitres."""
    data = np.zeros((20, 6, 6), np.uint8)
    data[0:2, :2, :2], data[5:8, :3, :3], data[10:14, :4, :4] = cube(2), cube(3), cube(4)
    mask = mask_of(data, spacing_mm=(0.5, 0.8, 2.5))
    for least_ml, left in ((0.008, 99), (0.00801, 91), (0.027, 91), (0.028, 64), (0.065, 0)):
        assert RemoveSmall(min_ml=least_ml)(mask).data.sum() == left


def test_a_mask_that_needs_nothing_is_handed_on() -> None:
    data = np.zeros((5, 5, 5), np.uint8)
    empty = mask_of(data)
    assert KeepLargest()(empty) is empty
    data[1:3, 1:3, 1:3] = 1
    whole = mask_of(data)
    assert KeepLargest()(whole) is whole
    assert RemoveSmall(min_voxels=8)(whole) is whole


def test_of_equal_components_the_left_one_stays() -> None:
    data = np.zeros((9, 3, 3), np.uint8)
    data[1, 1, 1] = data[7, 1, 1] = 1
    assert np.argwhere(KeepLargest()(mask_of(data)).data).tolist() == [[1, 1, 1]]
    flipped = turned(mask_of(data), "LPS")
    assert np.argwhere(KeepLargest()(flipped).data).tolist() == [[7, 1, 1]]
    data[4, 0, 0] = 1
    assert np.argwhere(KeepLargest(count=2)(mask_of(data)).data)[:, 0].tolist() == [1, 4]


def brain() -> np.ndarray:
    """Edema 2 around a core 1 with two enhancing parts 4, and a far satellite of edema."""
    data = np.zeros((20, 12, 12), np.uint8)
    data[1:11, 1:11, 1:11] = 2
    data[2:10, 2:10, 2:10] = 1
    data[3:5, 3:5, 3:5] = 4
    data[7, 7, 7] = 4
    data[15:17, 3:5, 3:5] = 2
    return data


def test_what_is_taken_from_a_region_stays_in_the_regions_around_it() -> None:
    data, mask = brain(), mask_of(brain(), TUMOUR)
    cleaned = RemoveSmall(labels=("enhancing",), min_voxels=5)(mask).data
    assert np.argwhere(cleaned != data).tolist() == [[7, 7, 7]]
    assert cleaned[7, 7, 7] == 1
    no_core = RemoveSmall(labels=("core",), min_voxels=10_000)(mask).data
    assert set(np.unique(no_core)) == {0, 2}
    assert np.array_equal(no_core > 0, data > 0)
    largest = KeepLargest(labels=("whole",))(mask).data
    assert not largest[12:].any()
    assert np.array_equal(largest[:12], data[:12])


def test_regions_are_looked_at_in_what_is_left_of_those_before() -> None:
    """The largest enhancing part lies in a satellite that goes; the one in the tumour stays."""
    data = brain()
    data[14:19, 2:6, 2:6] = 4
    cleaned = KeepLargest()(mask_of(data, TUMOUR)).data
    assert not cleaned[12:].any()
    assert (cleaned[3:5, 3:5, 3:5] == 4).all()
    assert cleaned[7, 7, 7] == 1


def test_regions_that_are_not_nested_keep_what_they_share() -> None:
    labels = Labels((Label("left", (1, 2)), Label("right", (3, 2)), Label("both", (2,))))
    data = np.array([1, 2, 3, 0, 2, 0], np.uint8).reshape(6, 1, 1)
    cleaned = RemoveSmall(labels=("left",), min_voxels=2)(mask_of(data, labels))
    assert cleaned.data.ravel().tolist() == [1, 2, 3, 0, 3, 0]


def test_wide_values_are_kept() -> None:
    labels = Labels((Label("far", (40_000,)),))
    data = np.zeros((5, 5, 5), np.uint16)
    data[:2, :2, :2], data[4, 4, 4] = 40_000, 40_000
    cleaned = KeepLargest()(LabelMap(data, mask_of(np.zeros((5, 5, 5))).grid, labels))
    assert cleaned.data.dtype == np.uint16
    assert (cleaned.data == 40_000).sum() == 8


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="count is at least 1, not 0"):
        KeepLargest(count=0)
    for options in ({}, {"min_ml": 1.0, "min_voxels": 2}):
        with pytest.raises(ValueError, match="either min_ml or min_voxels"):
            RemoveSmall(**options)  # type: ignore[arg-type]
    for options in ({"min_ml": 0.0}, {"min_ml": -1.0}, {"min_voxels": 0}):
        with pytest.raises(ValueError, match="least size is above 0"):
            RemoveSmall(**options)  # type: ignore[arg-type]


def test_a_label_that_the_mask_does_not_have_is_told() -> None:
    with pytest.raises(StudyError, match="no label of this mask is called 'd'") as caught:
        KeepLargest(labels=("a", "d"))(mask_of(np.zeros((2, 2, 2)), ORGANS))
    assert caught.value.code == "E_CONFIG"


@pytest.mark.parametrize("step", POSTPROCESS.values())
def test_every_step_says_which_options_name_labels(step: Any) -> None:
    assert step.label_fields
    assert set(step.label_fields) <= set(step.__dataclass_fields__)
