"""Surfaces and their distances: laws, shapes with known answers, and three other tools."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affines import affines
from support.masks import ORDERS, mask_of, masks, turned

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.metrics import (
    Assd,
    BoundaryIou,
    CentroidDistance,
    Comparison,
    Hd,
    Hd95,
    Metric,
    Msd,
    Nsd,
)
from medseg.metrics.surface import Form, surfaces
from medseg.metrics.surfels import surfel_areas

laws = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
forms = st.sampled_from(["surfels", "border"])
ONE = Labels((Label("a", (1,)),))
SPACINGS = [(1.0, 1.0, 1.0), (0.3, 0.3, 10.0), (0.7, 0.7, 5.0)]
ALL = (Hd, Hd95, Assd, Msd, Nsd)


def told(metric: Metric, prediction: LabelMap, reference: LabelMap) -> dict[str, Any]:
    """The results of the first label by their names."""
    first = reference.labels.names[0]
    measures = metric(Comparison(prediction, reference))
    return {m.metric: m.value for m in measures if m.label == first}


def numbers(results: dict[str, Any]) -> list[float]:
    """The values, -1 for what has none."""
    return [-1.0 if value is None else value for value in results.values()]


def ball(
    radius_mm: float,
    centre_mm: tuple[float, float, float] = (0, 0, 0),
    spacing_mm: tuple[float, float, float] = (1, 1, 1),
    half_mm: float = 30,
) -> LabelMap:
    """A ball on a grid that reaches ``half_mm`` to each side of zero."""
    axes = [np.arange(-half_mm, half_mm + side / 2, side) for side in spacing_mm]
    apart = [axis - middle for axis, middle in zip(axes, centre_mm, strict=True)]
    x, y, z = np.meshgrid(*apart, indexing="ij", sparse=True)
    return mask_of(x**2 + y**2 + z**2 <= radius_mm**2, ONE, spacing_mm)


def blobs(seed: int, spacing_mm: tuple[float, float, float], side: int = 24) -> LabelMap:
    """Smooth lumps, as organs have them, cut off at the array's edge here and there."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(side, side, side))
    smooth = gaussian_filter(noise, 2.5)
    return mask_of(smooth > np.quantile(smooth, 0.7), ONE, spacing_mm)


def pair(seed: int, spacing_mm: tuple[float, float, float]) -> tuple[LabelMap, LabelMap]:
    """Lumps and the same with another border, and a speck far away."""
    from scipy.ndimage import binary_dilation

    reference = blobs(seed, spacing_mm)
    chance = np.random.default_rng(seed + 1)
    grown = binary_dilation(reference.data > 0) & (chance.random(reference.data.shape) < 0.5)
    wrong = np.where(chance.random(reference.data.shape) < 0.1, grown, reference.data)
    wrong[:2, :2, :2] = 1
    return reference.with_data(wrong.astype(np.uint8)), reference


@laws
@given(masks(), seeds, forms)
def test_distances_are_symmetric_and_grow_with_the_percentile(
    mask: LabelMap, seed: int, form: Form
) -> None:
    other = mask.with_data(
        np.random.default_rng(seed).permutation(mask.data.ravel()).reshape(mask.data.shape)
    )
    for metric in (Hd(surface=form), Hd95(surface=form), Assd(surface=form), Nsd(surface=form)):
        there, back = told(metric, mask, other), told(metric, other, mask)
        assert numbers(there) == pytest.approx(numbers(back), rel=1e-9, abs=1e-12)
    one, two = told(Msd(surface=form), mask, other), told(Msd(surface=form), other, mask)
    assert numbers(one) == pytest.approx(numbers(two)[::-1], rel=1e-9, abs=1e-12)
    by_percent = [
        next(iter(told(Hd95(surface=form, percentile=p), mask, other).values()))
        for p in (50, 95, 100)
    ]
    if None not in by_percent:
        assert by_percent == sorted(by_percent)
        assert by_percent[-1] == next(iter(told(Hd(surface=form), mask, other).values()))


@laws
@given(masks(), forms)
def test_a_mask_lies_upon_itself(mask: LabelMap, form: Form) -> None:
    same = Comparison(mask, mask)
    for metric in (Hd(surface=form), Assd(surface=form), CentroidDistance()):
        assert {m.value for m in metric(same)} <= {0.0, None}
    for metric in (Nsd(surface=form, tolerances_mm=(0.0,)), BoundaryIou()):
        assert {m.value for m in metric(same)} <= {1.0, None}


@laws
@given(masks(), seeds, st.sampled_from(ORDERS), forms)
def test_the_order_of_voxels_does_not_count(
    mask: LabelMap, seed: int, codes: str, form: Form
) -> None:
    """On any grid, sheared ones too."""
    other = mask.with_data(np.random.default_rng(seed).permutation(mask.data))
    one, two = turned(mask, codes), turned(other, codes)
    for metric in (Hd95(surface=form), Assd(surface=form), Nsd(surface=form, tolerances_mm=(1.1,))):
        assert numbers(told(metric, two, one)) == pytest.approx(
            numbers(told(metric, other, mask)), rel=1e-6
        )
    for rest in (CentroidDistance(), BoundaryIou(width_mm=1.3)):
        assert numbers(told(rest, two, one)) == pytest.approx(
            numbers(told(rest, other, mask)), rel=1e-6, abs=1e-9
        )


@laws
@given(masks(), seeds, st.integers(2, 3))
def test_threads_change_nothing(mask: LabelMap, seed: int, threads: int) -> None:
    other = mask.with_data(np.random.default_rng(seed).permutation(mask.data))
    alone, shared = Comparison(other, mask), Comparison(other, mask, threads)
    assert Hd95()(alone) == Hd95()(shared)
    assert list(surfaces(shared, "surfels")) == list(mask.labels.names)


@laws
@given(affines(), st.integers(1, 254))
def test_areas_are_those_of_the_corners_outside_too(affine: Any, code: int) -> None:
    areas = surfel_areas(affine)
    assert areas[code] == pytest.approx(areas[255 - code])
    assert areas[code] > 0
    assert areas[0] == areas[255] == 0


@laws
@given(affines())
def test_a_flat_face_has_the_area_of_the_parallelogram(affine: Any) -> None:
    """All four corners at i = 0 inside: bits j + 4 k."""
    face = np.cross(affine[:3, 1], affine[:3, 2])
    code = sum(1 << (j + 4 * k) for j in (0, 1) for k in (0, 1))
    assert surfel_areas(affine)[code] == pytest.approx(np.linalg.norm(face))


def test_a_plane_cut_at_any_angle_keeps_its_area_where_the_corner_is_cut() -> None:
    """One corner inside: a triangle through the middles of three edges."""
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    triangle = np.cross([-1.0, 1.5, 0], [-1.0, 0, 2.5]) / 2
    assert surfel_areas(affine)[1] == pytest.approx(np.linalg.norm(triangle))


@pytest.mark.parametrize(
    ("spacing_mm", "more"), [((1.0, 1.0, 1.0), 1.085), ((0.5, 0.5, 2.0), 1.186)]
)
def test_the_area_of_a_ball_is_the_formula_and_its_stairs(spacing_mm: Any, more: float) -> None:
    """A mask's marching cubes keep its stairs, by a known share."""
    one = ball(20, spacing_mm=spacing_mm)
    found = surfaces(Comparison(one, one), "surfels")["a"]
    assert found is not None
    assert found.to_reference.weights.sum() == pytest.approx(more * 4 * np.pi * 400, rel=2e-3)


@pytest.mark.parametrize("form", ["surfels", "border"])
def test_two_voxels_three_and_four_apart_are_five_apart(form: Form) -> None:
    """Each step is of its own length: 3 voxels of 2 mm and 4 of 1.5 mm give 6, 6, 8.49 mm."""
    for spacing_mm, offset, wanted in (
        ((1.0, 1.0, 1.0), (3, 4, 0), 5.0),
        ((1.0, 1.0, 1.0), (0, 3, 4), 5.0),
        ((3.0, 1.0, 4.0), (1, 0, 1), 5.0),
        ((0.3, 0.3, 10.0), (10, 0, 4), np.hypot(3.0, 40.0)),
    ):
        data = np.zeros((2, 14, 9, 7))
        data[0, 0, 0, 0] = 1
        data[(1, *offset)] = 1
        one, two = (mask_of(part, ONE, spacing_mm) for part in data)
        if form == "border":
            assert told(Hd(surface=form), one, two) == {"hd_border": pytest.approx(wanted)}
            assert told(Assd(surface=form), one, two)["assd_border"] == pytest.approx(wanted)
        assert told(CentroidDistance(), one, two)["centroid_distance"] == pytest.approx(wanted)
    # The elements of a voxel are its eight corners: the far ones are as far as the voxels.
    data = np.zeros((2, 9, 3, 3))
    data[0, 0], data[1, 5] = 1, 1
    one, two = (mask_of(part, ONE, (2.0, 1.0, 1.0)) for part in data)
    assert told(Hd(), one, two)["hd_surfels"] == pytest.approx(10.0)


@pytest.mark.parametrize("form", ["surfels", "border"])
def test_two_balls_a_known_way_apart(form: Form) -> None:
    """Hausdorff's distance is the offset; the centres are as far apart."""
    one, two = ball(12), ball(12, (5.0, 0.0, 0.0))
    assert told(Hd(surface=form), one, two)[f"hd_{form}"] == pytest.approx(5.0, abs=0.5)
    assert told(CentroidDistance(), one, two)["centroid_distance"] == pytest.approx(5.0, abs=1e-9)


@pytest.mark.parametrize("form", ["surfels", "border"])
def test_a_ball_within_a_ball_is_as_far_away_as_the_radii_differ(form: Form) -> None:
    small, large = (
        ball(10, spacing_mm=(0.5, 0.5, 0.5), half_mm=16),
        ball(13, spacing_mm=(0.5, 0.5, 0.5), half_mm=16),
    )
    for metric in (Hd95(surface=form), Assd(surface=form), Msd(surface=form)):
        for value in told(metric, small, large).values():
            assert value == pytest.approx(3.0, abs=0.3)
    near = told(Nsd(surface=form, tolerances_mm=(2.0, 4.0)), small, large)
    assert list(near.values()) == [0.0, 1.0]


def test_the_edge_of_the_array_is_surface() -> None:
    full = mask_of(np.ones((4, 5, 6)), ONE, (1.0, 2.0, 3.0))
    found = surfaces(Comparison(full, full), "surfels")["a"]
    assert found is not None
    # Corners and edges are cut off, so that it is somewhat less than the box's own surface.
    assert 0.85 < found.to_reference.weights.sum() / (2 * (4 * 10 + 4 * 18 + 10 * 18)) < 1
    inner = np.zeros((4, 5, 6))
    inner[1:3] = 1
    assert told(Hd(), mask_of(inner, ONE, (1.0, 2.0, 3.0)), full)["hd_surfels"] == 1.0


def test_a_turned_grid_changes_nothing_and_a_sheared_one_what_it_should() -> None:
    prediction, reference = pair(3, (1.0, 1.0, 2.0))
    angle = np.radians(33)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    shear = np.eye(4)
    shear[0, 2] = 0.5
    straight = reference.grid
    results = {}
    for name, way in (("straight", np.eye(4)), ("turned", turn), ("sheared", shear)):
        grid = Grid(way @ straight.affine, straight.shape)
        one, two = (LabelMap(m.data, grid, ONE) for m in (prediction, reference))
        results[name] = [value for metric in ALL for value in told(metric(), one, two).values()]
    assert results["turned"] == pytest.approx(results["straight"], rel=1e-9)
    assert results["sheared"] != pytest.approx(results["straight"], rel=1e-2)
    # Two voxels with (0, 0, 2) between them lie (2, 0, 4) mm apart here.
    data = np.zeros((2, 3, 3, 3))
    data[0, 0, 0, 0] = data[1, 0, 0, 2] = 1
    grid = Grid(shear @ np.diag([1.0, 1, 2, 1]), (3, 3, 3))
    one, two = (LabelMap(part.astype(np.uint8), grid, ONE) for part in data)
    assert told(Hd(), one, two)["hd_surfels"] == pytest.approx(np.hypot(2, 4))


def test_voxels_to_ignore_have_no_surface_of_their_own() -> None:
    labels = Labels((Label("a", (1,)),), ignore=9)
    truth = np.zeros((9, 9, 9))
    truth[2:5, 2:5, 2:5] = 1
    truth[6:] = 9
    wrong = np.where(truth == 9, 1, truth)
    found = told(Hd(), mask_of(wrong, labels), mask_of(truth, labels))
    assert found["hd_surfels"] == 0.0


def test_the_rim_is_as_wide_as_it_is_said() -> None:
    """Rims of 1.5 mm of a cube of 10 and one of 8: 10^3 - 8^3 and 8^3 - 6^3 voxels of 1 mm."""
    data = np.zeros((2, 14, 14, 14))
    data[0, 2:12, 2:12, 2:12], data[1, 3:11, 3:11, 3:11] = 1, 1
    one, two = (mask_of(part, ONE) for part in data)
    assert told(BoundaryIou(width_mm=1.2), one, two) == {"boundary_iou_1.2mm": 0.0}
    shared = 8**3 - 6**3
    either = (10**3 - 6**3) + 0
    found = told(BoundaryIou(width_mm=2.0), one, two)["boundary_iou_2mm"]
    both = (10**3 - 6**3, 8**3 - 4**3)
    assert found == pytest.approx(shared / (sum(both) - shared))
    assert either == both[0]


@pytest.mark.parametrize(
    ("metric", "options", "says"),
    [
        (Hd95, {"percentile": 0}, "^percentile"),
        (Hd95, {"percentile": 101}, "^percentile"),
        (Nsd, {"tolerances_mm": ()}, "^tolerances_mm"),
        (Nsd, {"tolerances_mm": (-1.0,)}, "^tolerances_mm"),
        (Nsd, {"tolerances_mm": (float("inf"),)}, "^tolerances_mm"),
        (BoundaryIou, {"width_mm": 0}, "^width_mm"),
    ],
)
def test_options_that_cannot_be_are_refused(metric: Any, options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        metric(**options)


@contextmanager
def lenient() -> Iterator[None]:
    """Other tools ask their libraries for what is about to go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_surfels_are_those_of_surface_distance(seed: int, spacing_mm: Any) -> None:
    theirs = pytest.importorskip("surface_distance")
    prediction, reference = pair(seed, spacing_mm)
    with lenient():
        found = theirs.compute_surface_distances(
            reference.data > 0, prediction.data > 0, spacing_mm
        )
    to_prediction, to_reference = theirs.compute_average_surface_distance(found)
    wanted = {
        "hd_surfels": theirs.compute_robust_hausdorff(found, 100),
        "hd95_surfels": theirs.compute_robust_hausdorff(found, 95),
        "msd_to_reference_surfels": to_reference,
        "msd_to_prediction_surfels": to_prediction,
        "nsd_0.5mm_surfels": theirs.compute_surface_dice_at_tolerance(found, 0.5),
        "nsd_2mm_surfels": theirs.compute_surface_dice_at_tolerance(found, 2),
    }
    mine: dict[str, Any] = {}
    for metric in (Hd(), Hd95(), Msd(), Nsd(tolerances_mm=(0.5, 2.0))):
        mine |= told(metric, prediction, reference)
    assert mine == pytest.approx(wanted, abs=1e-9)
    comparison = surfaces(Comparison(prediction, reference), "surfels")["a"]
    assert comparison is not None
    assert comparison.to_reference.weights.sum() == pytest.approx(found["surfel_areas_pred"].sum())


def test_every_neighbourhood_has_the_area_of_surface_distance() -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    weights = np.array(tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL).reshape(2, 2, 2)
    for spacing_mm in SPACINGS:
        theirs = tables.create_table_neighbour_code_to_surface_area(spacing_mm).ravel()
        mine = surfel_areas(np.diag([*spacing_mm, 1.0]))
        for code in range(256):
            corners = [
                (code >> (j + 2 * i + 4 * k) & 1) * weights[i, j, k]
                for i in (0, 1)
                for j in (0, 1)
                for k in (0, 1)
            ]
            assert mine[code] == pytest.approx(theirs[int(sum(corners))], abs=1e-9)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_border_voxels_are_those_of_monai(spacing_mm: Any) -> None:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    prediction, reference = pair(5, spacing_mm)
    both = [torch.from_numpy(m.data[None, None] > 0) for m in (prediction, reference)]
    options: dict[str, Any] = {"include_background": True, "spacing": list(spacing_mm)}
    with lenient():
        wanted = {
            "hd_border": compute_hausdorff_distance(*both, **options),
            "hd95_border": compute_hausdorff_distance(*both, percentile=95, **options),
            "assd_border": compute_average_surface_distance(*both, symmetric=True, **options),
            "msd_to_reference_border": compute_average_surface_distance(*both, **options),
            "nsd_1mm_border": compute_surface_dice(*both, class_thresholds=[1.0], **options),
        }
    mine: dict[str, Any] = {}
    for metric in (Hd, Hd95, Assd, Msd):
        mine |= told(metric(surface="border"), prediction, reference)
    mine |= told(Nsd(surface="border", tolerances_mm=(1.0,)), prediction, reference)
    del mine["msd_to_prediction_border"]
    assert mine == pytest.approx({name: float(v) for name, v in wanted.items()}, abs=1e-5)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.3, 0.3, 10.0)])
def test_the_largest_distance_is_that_of_simpleitk_where_whole_masks_decide_it(
    spacing_mm: Any,
) -> None:
    """ITK measures from voxels of one mask to the other mask, not to its border: the same maximum
    wherever the farthest voxel lies outside."""
    import SimpleITK

    prediction, reference = pair(7, spacing_mm)
    images = []
    for mask in (prediction, reference):
        image = SimpleITK.GetImageFromArray(mask.data.transpose())
        image.SetSpacing(spacing_mm)
        images.append(image)
    filters = SimpleITK.HausdorffDistanceImageFilter()
    filters.Execute(*images)
    assert told(Hd(surface="border"), prediction, reference)["hd_border"] == pytest.approx(
        filters.GetHausdorffDistance(), rel=1e-5
    )
