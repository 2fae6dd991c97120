"""Masks from files: whole numbers exactly, in the table, where the scan is."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affines import affines, shapes
from support.image_bytes import AFFINE, SHAPE, gz, nifti, voxels

from medseg.errors import StudyError
from medseg.image import Grid, Label, Labels
from medseg.io import ReadOptions, read_label_values, read_labels

LABELS = Labels((Label("front", (1,)), Label("back", (2,))), ignore=255)
GRID = Grid(AFFINE, SHAPE)


def put(folder: Path, data: np.ndarray, affine: np.ndarray = AFFINE, **fields: object) -> Path:
    path = folder / "mask.nii.gz"
    path.write_bytes(gz(nifti(data, affine, **fields)))
    return path


def mask(dtype: str = "u1") -> np.ndarray:
    return (voxels() % 3).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_a_mask_of_any_type_is_read_as_it_is(tmp_path: Path, dtype: str) -> None:
    read, cautions = read_labels(put(tmp_path, mask(dtype)), LABELS, GRID)
    assert read.data.dtype == np.uint8
    assert np.array_equal(read.data, mask())
    assert cautions == ()
    assert read.grid is GRID


def test_large_values_make_a_large_mask(tmp_path: Path) -> None:
    labels = Labels((Label("a", (1,)), Label("b", (40_000,))))
    data = np.where(mask() > 0, 40_000, 0).astype("i4")
    read, _ = read_labels(put(tmp_path, data), labels)
    assert read.data.dtype == np.uint16
    assert np.array_equal(read.data, data)


def test_the_ignore_value_stays(tmp_path: Path) -> None:
    data = mask()
    data[0] = 255
    assert (read_labels(put(tmp_path, data), LABELS)[0].data[0] == 255).all()


def test_nearly_whole_numbers_are_rounded_and_told(tmp_path: Path) -> None:
    read, (caution,) = read_labels(put(tmp_path, mask("f4") * np.float32(0.99999)), LABELS)
    assert np.array_equal(read.data, mask())
    assert caution.code == "W_LABEL_ROUNDED"


@pytest.mark.parametrize("off", [0.01, 0.5])
def test_other_numbers_are_refused(tmp_path: Path, off: float) -> None:
    with pytest.raises(StudyError, match=rf"E_LABEL_NOT_INTEGER.*{1 + off:g}") as caught:
        read_labels(put(tmp_path, np.where(mask() == 1, 1 + off, 0).astype("f4")), LABELS)
    assert str(caught.value.path).endswith("mask.nii.gz")


def test_a_scaled_mask_is_scaled_in_double_precision(tmp_path: Path) -> None:
    data = np.where(mask() > 0, 255, 0).astype("u1")
    path = put(tmp_path, data, scl_slope=1 / 255, scl_inter=0)
    read, cautions = read_labels(path, LABELS)
    assert np.array_equal(read.data, mask() > 0)
    assert [caution.code for caution in cautions] == ["W_LABEL_ROUNDED"]


def test_values_never_go_through_float32(tmp_path: Path) -> None:
    data = np.full(SHAPE, 16_777_217, "i4")
    assert (read_label_values(put(tmp_path, data))[0] == 16_777_217).all()
    huge = np.full(SHAPE, 2**53 + 1, "i8")
    assert (read_label_values(put(tmp_path, huge))[0] == 2**53 + 1).all()


@pytest.mark.parametrize(
    ("value", "dtype", "says"),
    [
        (3, "u1", "holds 3, and the table has 0 background, 1 front, 2 back, 255 to ignore"),
        (-1, "i2", "holds -1"),
        (16_777_217, "i4", "holds 16777217"),
        (2**63, "u8", "holds 9223372036854775808"),
        (1e30, "f4", "values up to 1e.30"),
    ],
)
def test_values_outside_the_table_are_named(
    tmp_path: Path, value: float, dtype: str, says: str
) -> None:
    data = mask(dtype)
    data[0, 0, 0] = value
    with pytest.raises(StudyError, match=f"E_LABEL_VALUES.*{says}"):
        read_labels(put(tmp_path, data), LABELS)


def test_many_strange_values_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="3, 4, 5, 6, 7, 8, 9, 10 and more"):
        read_labels(put(tmp_path, voxels()), LABELS)


def test_nan_in_a_mask_is_refused_even_where_scans_are_filled(tmp_path: Path) -> None:
    data = mask("f4")
    data[0, 0, 0] = np.nan
    with pytest.raises(StudyError, match="E_NONFINITE"):
        read_labels(put(tmp_path, data), LABELS, options=ReadOptions(nonfinite="fill"))


@settings(deadline=None, max_examples=48)
@given(
    affine=affines(),
    shape=shapes,
    turn=st.sampled_from([*product(permutations(range(3)), product((1, -1), repeat=3))]),
)
def test_a_mask_in_another_order_of_axes_is_turned(
    tmp_path_factory: pytest.TempPathFactory,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    turn: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    axes, signs = turn
    data = (voxels(shape) % 3).astype("u1")
    steps = tuple(slice(None, None, sign) for sign in signs)
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        change[old, new] = sign
        change[old, 3] = 0 if sign > 0 else shape[old] - 1
    path = put(tmp_path_factory.mktemp("turned"), data.transpose(axes)[steps], affine @ change)
    read, cautions = read_labels(path, LABELS, Grid(affine, shape))
    assert np.array_equal(read.data, data)
    assert min(read.data.strides) > 0
    assert {caution.code for caution in cautions} <= {"W_LABEL_REORIENTED"}
    if min(shape) > 1 and (axes, signs) != ((0, 1, 2), (1, 1, 1)):
        assert cautions


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (np.array([[1, 0, 0, 1.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "2.00 mm away"),
        (np.diag([-1.0, 1, 1, 1]), "16.00 mm away"),
        (np.diag([2.0, 1, 1, 1]), "mm away"),
    ],
)
def test_a_mask_elsewhere_is_refused_with_its_distance(
    tmp_path: Path, change: np.ndarray, says: str
) -> None:
    with pytest.raises(StudyError, match=f"E_LABEL_GEOMETRY.*{says}"):
        read_labels(put(tmp_path, mask(), AFFINE @ change), LABELS, GRID)


def test_a_mask_of_another_shape_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"E_LABEL_GEOMETRY.*5 x 6 x 8 voxels and the scan 5 x 6 x 7"
    ):
        read_labels(put(tmp_path, (voxels((5, 6, 8)) % 3).astype("u1")), LABELS, GRID)


def test_a_contradicting_mask_is_read_by_the_form_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, mask(), qoffset=(21, 30, -40))
    with pytest.raises(StudyError, match="E_GEOMETRY_CONFLICT"):
        read_labels(path, LABELS, GRID)
    read, _ = read_labels(path, LABELS, GRID, ReadOptions(geometry="sform"))
    assert np.array_equal(read.data, mask())


def test_a_series_is_no_mask_of_a_scan(tmp_path: Path) -> None:
    path = put(tmp_path, np.stack([mask(), mask()], -1))
    with pytest.raises(StudyError, match="E_NDIM"):
        read_labels(path, LABELS, options=ReadOptions(frames="each"))
