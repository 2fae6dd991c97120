"""Dice and IoU: identities, closed forms, conventions for the empty, SimpleITK and MONAI."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masks import ORDERS, ORGANS, TUMOUR, mask_of, masks, turned

from medseg.errors import StudyError
from medseg.image import Grid, Label, LabelMap, Labels
from medseg.metrics import (
    Comparison,
    Dice,
    Iou,
    Kappa,
    Metric,
    Overlap,
    Precision,
    Sensitivity,
    Specificity,
    VolumeDifference,
)

laws = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def another(mask: LabelMap, seed: int) -> LabelMap:
    """A mask that agrees with another in most voxels."""
    chance = np.random.default_rng(seed)
    values = np.array([0, *sorted(mask.labels.values)], np.uint8)
    wrong = chance.random(mask.data.shape) < 0.3
    return mask.with_data(np.where(wrong, chance.choice(values, mask.data.shape), mask.data))


def dice(prediction: LabelMap, reference: LabelMap) -> dict[str, float | None]:
    return {m.label: m.value for m in Dice()(Comparison(prediction, reference))}


def iou(prediction: LabelMap, reference: LabelMap) -> dict[str, float | None]:
    return {m.label: m.value for m in Iou()(Comparison(prediction, reference))}


def told(metric: Metric, prediction: LabelMap, reference: LabelMap) -> list[float | None]:
    return [m.value for m in metric(Comparison(prediction, reference))]


any_masks = masks() | masks(TUMOUR)


@laws
@given(any_masks, seeds)
def test_dice_and_iou_are_symmetric(mask: LabelMap, seed: int) -> None:
    other = another(mask, seed)
    assert dice(mask, other) == dice(other, mask)
    assert iou(mask, other) == iou(other, mask)


@laws
@given(any_masks, seeds)
def test_iou_is_dice_over_two_minus_dice(mask: LabelMap, seed: int) -> None:
    other = another(mask, seed)
    for (label, d), (same, j) in zip(
        dice(mask, other).items(), iou(mask, other).items(), strict=True
    ):
        assert label == same
        assert (d is None) == (j is None)
        if d is not None and j is not None:
            assert 0 <= j <= d <= 1
            assert j == pytest.approx(d / (2 - d), abs=1e-12)


@laws
@given(any_masks)
def test_a_mask_agrees_with_itself(mask: LabelMap) -> None:
    for measure in (*Dice()(Comparison(mask, mask)), *Iou()(Comparison(mask, mask))):
        assert measure.value == (1.0 if mask.where(measure.label).any() else None)


@laws
@given(any_masks, seeds, st.sampled_from(ORDERS))
def test_the_order_of_voxels_does_not_count(mask: LabelMap, seed: int, codes: str) -> None:
    other = another(mask, seed)
    assert dice(turned(mask, codes), turned(other, codes)) == dice(mask, other)


@laws
@given(masks(), seeds)
def test_the_numbers_that_labels_are_written_by_do_not_count(mask: LabelMap, seed: int) -> None:
    """A prediction of another tool's table is compared by the names."""
    other = another(mask, seed)
    table = np.zeros(6, np.uint16)
    table[[1, 2, 5]] = 5, 700, 2
    labels = Labels((Label("c", (2,)), Label("a", (5,)), Label("b", (700,))))
    renamed = LabelMap(table[other.data], other.grid, labels)
    assert dice(renamed, mask) == dice(other, mask)
    assert dict(Comparison(renamed, mask).counts) == dict(Comparison(other, mask).counts)


@laws
@given(any_masks, seeds)
def test_counts_are_those_of_the_plain_masks(mask: LabelMap, seed: int) -> None:
    other = another(mask, seed)
    counts = Comparison(other, mask).counts
    assert tuple(counts) == mask.labels.names
    for name, found in counts.items():
        a, b = other.where(name), mask.where(name)
        assert found == Overlap(int((a & b).sum()), int(a.sum()), int(b.sum()))


@laws
@given(masks(), seeds)
def test_voxels_to_ignore_count_on_neither_side(mask: LabelMap, seed: int) -> None:
    chance = np.random.default_rng(seed)
    ignored = chance.random(mask.data.shape) < 0.3
    labels = replace(mask.labels, ignore=255)
    reference = LabelMap(np.where(ignored, 255, mask.data).astype(np.uint8), mask.grid, labels)
    other = another(mask, seed)
    counts = Comparison(other, reference).counts
    for name, found in counts.items():
        a, b = other.where(name) & ~ignored, mask.where(name) & ~ignored
        assert found == Overlap(int((a & b).sum()), int(a.sum()), int(b.sum()))


def test_values_of_no_label_are_background() -> None:
    data = np.array([1, 1, 2, 9, 77], np.uint8).reshape(5, 1, 1)
    truth = np.array([1, 2, 2, 9, 1], np.uint8).reshape(5, 1, 1)
    counts = Comparison(mask_of(data), mask_of(truth)).counts
    assert counts["a"] == Overlap(1, 2, 2)
    assert counts["b"] == Overlap(1, 1, 2)
    assert counts["c"] == Overlap(0, 0, 0)


def test_a_label_that_the_prediction_does_not_know_is_empty_there() -> None:
    data = np.array([1, 2, 5], np.uint8).reshape(3, 1, 1)
    fewer = mask_of(data, Labels((Label("a", (1,)),)))
    counts = Comparison(fewer, mask_of(data)).counts
    assert counts == {"a": (1, 1, 1), "b": (0, 0, 1), "c": (0, 0, 1)}
    assert dice(fewer, mask_of(data)) == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_large_masks_are_counted_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    one, two = (mask_of(chance.choice([0, 1, 2, 5], (11, 7, 5))) for _ in range(2))
    whole = dict(Comparison(one, two).counts)
    monkeypatch.setattr("medseg.metrics.comparison._SLAB", 40)
    assert dict(Comparison(one, two).counts) == whole


@laws
@given(masks(least=2), seeds)
def test_numbers_are_those_of_simpleitk(mask: LabelMap, seed: int) -> None:
    import SimpleITK

    other = another(mask, seed)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(SimpleITK.GetImageFromArray(m.data) for m in (other, mask)))
    for label in mask.labels:
        if mask.where(label.name).any():
            value = label.values[0]
            assert dice(other, mask)[label.name] == pytest.approx(
                overlap.GetDiceCoefficient(value), abs=1e-12
            )
            assert iou(other, mask)[label.name] == pytest.approx(
                overlap.GetJaccardCoefficient(value), abs=1e-12
            )
            place = mask.labels.names.index(label.name)
            # What ITK calls false negatives are a share of the reference, its target.
            assert told(Sensitivity(), other, mask)[place] == pytest.approx(
                1 - overlap.GetFalseNegativeError(value), abs=1e-12
            )
            if other.where(label.name).any():
                assert told(Precision(), other, mask)[place] == pytest.approx(
                    1 - overlap.GetFalseDiscoveryRate(value), abs=1e-12
                )


@pytest.mark.parametrize("labels", [ORGANS, TUMOUR], ids=["labels", "regions"])
def test_numbers_are_those_of_monai(labels: Labels) -> None:
    import torch
    from monai.metrics import DiceMetric, MeanIoU, get_confusion_matrix

    chance = np.random.default_rng(4)
    data = chance.choice([0, *sorted(labels.values)], (9, 8, 7))
    reference = mask_of(data, labels)
    prediction = another(reference, 5)
    stacked = [
        torch.from_numpy(np.stack([m.where(name) for name in labels.names])[None])
        for m in (prediction, reference)
    ]
    for metric, mine in (
        (DiceMetric(include_background=True, reduction="none"), dice),
        (MeanIoU(include_background=True, reduction="none"), iou),
    ):
        theirs = metric(*stacked)[0].tolist()
        assert list(mine(prediction, reference).values()) == pytest.approx(theirs, abs=1e-6)
    # MONAI divides in single precision; its counts are whole numbers.
    counts = get_confusion_matrix(*(one.double() for one in stacked))[0]
    for step, shares in (
        (Sensitivity(), [tp / (tp + fn) for tp, _, _, fn in counts.tolist()]),
        (Specificity(), [tn / (tn + fp) for _, fp, tn, _ in counts.tolist()]),
        (Precision(), [tp / (tp + fp) for tp, fp, _, _ in counts.tolist()]),
    ):
        assert told(step, prediction, reference) == pytest.approx(shares, abs=1e-12)


def test_two_balls_overlap_as_the_formula_of_a_lens_says() -> None:
    """Radius r, centres d apart: each shares pi (4r + d)(2r - d)^2 / 12 of its 4/3 pi r^3."""
    radius, apart, step = 20.0, 14.0, 0.5
    axis = [np.arange(-side, side, step) for side in (36.0, 24.0, 24.0)]
    x, y, z = np.meshgrid(*axis, indexing="ij", sparse=True)
    balls = [
        ((x - shift) ** 2 + y**2 + z**2 <= radius**2).astype(np.uint8)
        for shift in (-apart / 2, apart / 2)
    ]
    lens = (4 * radius + apart) * (2 * radius - apart) ** 2 / (16 * radius**3)
    one, two = (mask_of(ball, spacing_mm=(step, step, step)) for ball in balls)
    assert dice(one, two)["a"] == pytest.approx(lens, abs=2e-3)
    assert iou(one, two)["a"] == pytest.approx(lens / (2 - lens), abs=2e-3)
    assert one.volumes_ml()["a"] == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=2e-3)


FULL = np.ones((2, 2, 2))


def test_what_is_ignored_may_leave_nothing() -> None:
    labels = replace(ORGANS, ignore=9)
    reference = mask_of(np.full((2, 2, 2), 9), labels)
    assert dice(mask_of(FULL, labels), reference) == {"a": None, "b": None, "c": None}


def test_masks_on_other_grids_are_refused_with_what_differs() -> None:
    mask = mask_of(FULL)
    with pytest.raises(StudyError, match=r"shapes \(2, 2, 2\) and \(2, 2, 3\)") as caught:
        Comparison(mask, mask_of(np.ones((2, 2, 3))))
    assert caught.value.code == "E_LABEL_GEOMETRY"
    moved = np.eye(4)
    moved[0, 3] = 1.5
    with pytest.raises(StudyError, match=r"lie up to 1\.5 mm apart") as caught:
        Comparison(mask, LabelMap(mask.data, Grid(moved, (2, 2, 2)), ORGANS))
    assert caught.value.code == "E_LABEL_GEOMETRY"
    moved[0, 3] = 0.005
    Comparison(mask, LabelMap(mask.data, Grid(moved, (2, 2, 2)), ORGANS))


def test_a_difference_of_volume_has_a_sign_and_two_units() -> None:
    """Voxels of 2 x 3 x 5 mm are 0.03 ml."""
    truth, more = np.zeros((10, 10, 10)), np.zeros((10, 10, 10))
    truth[:4], more[:5] = 1, 1
    reference, larger = (mask_of(data, spacing_mm=(2, 3, 5)) for data in (truth, more))
    measures = VolumeDifference()(Comparison(larger, reference))[:2]
    assert [m.metric for m in measures] == ["volume_difference_ml", "volume_difference_percent"]
    assert [m.value for m in measures] == pytest.approx([3.0, 25.0])
    smaller = VolumeDifference()(Comparison(reference, larger))[:2]
    assert [m.value for m in smaller] == pytest.approx([-3.0, -20.0])


def test_specificity_looks_at_all_voxels_but_those_to_ignore() -> None:
    labels = replace(ORGANS, ignore=9)
    reference = mask_of(np.array([1, 0, 0, 0, 9, 9]).reshape(6, 1, 1), labels)
    prediction = mask_of(np.array([1, 1, 0, 0, 1, 0]).reshape(6, 1, 1), labels)
    assert told(Specificity(), prediction, reference)[0] == pytest.approx(2 / 3)
    assert Comparison(prediction, reference).voxels == 4


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kinds", [(np.uint8, np.uint16), (np.uint16, np.uint8)])
def test_neither_the_type_nor_the_order_in_memory_counts(order: str, kinds: Any) -> None:
    chance = np.random.default_rng(2)
    one, two = (mask_of(chance.choice([0, 1, 2, 5], (7, 6, 5))) for _ in range(2))
    stored = [
        mask.with_data(np.asarray(mask.data, kind, order=order))  # type: ignore[call-overload]
        for mask, kind in zip((one, two), kinds, strict=True)
    ]
    assert dict(Comparison(stored[0], stored[1]).counts) == dict(Comparison(one, two).counts)
    assert dict(Comparison(stored[0], two).counts) == dict(Comparison(one, two).counts)


@laws
@given(any_masks, seeds)
def test_kappa_is_agreement_beyond_chance(mask: LabelMap, seed: int) -> None:
    other = another(mask, seed)
    for measure in Kappa()(Comparison(mask, other)):
        mine, theirs = (one.where(measure.label).ravel() for one in (mask, other))
        if measure.value is None:
            assert measure.reason == ("both_empty" if not theirs.any() else "reference_full")
        else:
            seen = np.mean(mine == theirs)
            chance = mine.mean() * theirs.mean() + (1 - mine.mean()) * (1 - theirs.mean())
            assert measure.value == pytest.approx((seen - chance) / (1 - chance), abs=1e-9)
