"""Lesions: split, matched and measured."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masks import ORDERS, mask_of, masks, turned

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.metrics import Comparison, Lesions
from medseg.metrics.diameters import diameters
from medseg.metrics.instances import instances, match, numbered, split

laws = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
ONE = Labels((Label("a", (1,)),))


def cubes(*places: tuple[int, int]) -> LabelMap:
    """Cubes in a row: where each begins along x, and its side."""
    data = np.zeros((40, 8, 8))
    for start, side in places:
        data[start : start + side, 1 : 1 + side, 1 : 1 + side] = 1
    return mask_of(data, ONE, (2.0, 1.0, 1.0))


def told(prediction: LabelMap, reference: LabelMap, **options: Any) -> dict[str, float | None]:
    return {m.metric: m.value for m in Lesions(**options)(Comparison(prediction, reference))}


def test_lesions_are_counted_by_hand() -> None:
    """Two of three found, one of them one voxel layer short; one invented."""
    reference = cubes((1, 4), (10, 4), (30, 3))
    prediction = cubes((1, 4), (11, 3), (20, 2))
    iou = 27 / 64
    found = told(prediction, reference)
    assert found == pytest.approx(
        {
            "lesion_f1": 4 / 6,
            "lesion_sensitivity": 2 / 3,
            "lesion_precision": 2 / 3,
            "lesion_dice": (1 + 2 * iou / (1 + iou)) / 4,
            "panoptic_quality": 1 / 3,
            "false_positives": 1.0,
            "false_positive_ml": 8 * 2 / 1000,
        }
    )
    strict = told(prediction, reference, least_iou=0.5)
    assert strict["lesion_f1"] == pytest.approx(2 / 6)
    assert strict["false_positives"] == 2.0


@laws
@given(masks(), seeds)
def test_f1_is_symmetric_and_quality_below_it(mask: LabelMap, seed: int) -> None:
    other = mask.with_data(np.random.default_rng(seed).permutation(mask.data))
    one, two = told(mask, other, least_iou=0.5), told(other, mask, least_iou=0.5)
    assert one["lesion_f1"] == two["lesion_f1"]
    if one["lesion_f1"] is not None and one["panoptic_quality"] is not None:
        assert one["panoptic_quality"] <= one["lesion_f1"] + 1e-12


@laws
@given(seeds)
def test_no_other_matching_has_a_larger_sum(seed: int) -> None:
    chance = np.random.default_rng(seed)
    mine, theirs = chance.integers(0, 5, (2, 60)).astype(np.uint32)
    found = match(mine.reshape(60, 1, 1), theirs.reshape(60, 1, 1), 0.05)
    ious = np.zeros((mine.max(), theirs.max()))
    for i, j in np.ndindex(*ious.shape):
        a, b = mine == i + 1, theirs == j + 1
        ious[i, j] = (a & b).sum() / max(1, (a | b).sum())
    ious[ious < 0.05] = 0
    if ious.shape[0] > ious.shape[1]:
        ious = ious.T
    ways = permutations(range(ious.shape[1]), ious.shape[0])
    best = max((sum(ious[i, j] for i, j in enumerate(way)) for way in ways), default=0.0)
    assert sum(found.ious) == pytest.approx(best)
    assert len({a for a, _ in found.pairs}) == len({b for _, b in found.pairs}) == len(found.pairs)


@laws
@given(masks())
def test_splitting_loses_nothing_and_the_largest_comes_first(mask: LabelMap) -> None:
    marked = mask.where("a")
    counts = [int(split(marked, n).max()) for n in (6, 18, 26)]  # type: ignore[arg-type]
    assert counts == sorted(counts, reverse=True)
    found = split(marked, 6)
    assert np.array_equal(found > 0, marked)
    sizes = np.bincount(found.ravel())[1:].tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_an_instance_mask_numbers_labels_one_after_the_other() -> None:
    data = np.zeros((9, 3, 3))
    data[0], data[2], data[4], data[6] = 1, 1, 2, 2
    found = numbered(mask_of(data), ("a", "b", "c"), 26)
    assert [int(found.data[x, 0, 0]) for x in range(0, 8, 2)] == [1, 2, 3, 4]
    assert found.data.dtype == np.uint16


def test_an_instance_knows_its_size_and_place() -> None:
    data = np.zeros((10, 10, 6))
    data[2:6, 3:6, 1:3] = 1
    affine = np.diag([-2.0, 1.0, 5.0, 1.0])
    affine[:3, 3] = (100, 10, -50)
    mask = LabelMap(data.astype(np.uint8), Grid(affine, data.shape), ONE)
    (found,) = instances(mask, split(mask.where("a")), [0.5])
    assert found.volume_ml == pytest.approx(4 * 3 * 2 * 10 / 1000)
    assert found.low_mm == pytest.approx((89, 12.5, -47.5))
    assert found.high_mm == pytest.approx((97, 15.5, -37.5))
    assert found.centroid_mm == pytest.approx((93, 14, -42.5))
    assert found.confidence == 0.5
    assert found.diameters_mm.longest == pytest.approx(np.hypot(8, 2), abs=0.7)


def test_a_row_of_voxels_is_as_long_as_its_voxels_together() -> None:
    row = np.zeros((9, 5, 3), bool)
    row[1:8, 2, 1] = True
    found = diameters(row, Grid(np.diag([1.5, 2.0, 3.0, 1.0]), row.shape))
    assert found == pytest.approx((7 * 1.5, 2.0))


@pytest.mark.parametrize("degrees", [0, 30, 77])
def test_an_ellipse_has_its_axes_for_diameters(degrees: float) -> None:
    angle = np.radians(degrees)
    x, y = np.meshgrid(np.arange(-40, 41) * 0.5, np.arange(-40, 41) * 0.5, indexing="ij")
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    ellipse = ((u / 15) ** 2 + (v / 6) ** 2 <= 1)[..., None]
    found = diameters(ellipse, Grid(np.diag([0.5, 0.5, 4.0, 1.0]), ellipse.shape))
    assert found == pytest.approx((30, 12), abs=0.6)


@laws
@given(masks(), st.sampled_from(ORDERS))
def test_the_order_of_voxels_does_not_change_what_is_measured(mask: LabelMap, codes: str) -> None:
    if mask.grid.shear_degrees > 1e-6 or not mask.where("a").any():
        return
    other = turned(mask, codes)
    if {mask.grid.axcodes[2], other.grid.axcodes[2]} - set("SI"):
        return  # of oblique grids another axis may be the one from foot to head
    one, two = (
        sorted(
            (i.volume_ml, *i.low_mm, *i.high_mm, i.diameters_mm.longest)
            for i in instances(m, split(m.where("a")))
        )
        for m in (mask, other)
    )
    assert np.allclose(one, two, atol=1e-6)
