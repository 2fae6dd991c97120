"""NRRD and MetaImage, held against SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affines import affines, shapes
from support.image_bytes import META, NRRD, RAW, text_image, voxels

from medseg.image import Study
from medseg.io import ReadOptions, Scan, digests_of, read_label_values, read_scan

TO_RAS = np.diag([-1.0, -1, 1, 1])


def read(path: Path, **options: object) -> Scan:
    return read_scan(Study("study", (path,)), ReadOptions(**options))  # type: ignore[arg-type]


def itk_affine(image: SimpleITK.Image) -> np.ndarray:
    affine = np.eye(4)
    turn = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = turn * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return TO_RAS @ affine


def itk_image(data: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    lps = TO_RAS @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@settings(deadline=None, max_examples=40)
@given(
    affine=affines(),
    shape=shapes,
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    name=st.sampled_from(["a.nrrd", "a.nhdr", "a.mha", "a.mhd"]),
    packed=st.booleans(),
)
def test_what_simpleitk_writes_is_read_as_it_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    dtype: str,
    name: str,
    packed: bool,
) -> None:
    data = voxels(shape, dtype)
    path = tmp_path_factory.mktemp("itk") / name
    SimpleITK.WriteImage(itk_image(data, affine), str(path), packed)
    scan, theirs = read(path), SimpleITK.ReadImage(str(path))
    assert np.array_equal(scan.volume.data[0], SimpleITK.GetArrayFromImage(theirs).T)
    assert np.allclose(scan.volume.grid.affine, itk_affine(theirs), atol=1e-6)
    assert len(scan.digests) == (2 if name in ("a.nhdr", "a.mhd") else 1)
    assert digests_of(scan.study) == scan.digests
    if dtype[0] != "f":
        assert np.array_equal(read_label_values(path)[0], data)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_big_endian_files_are_read(tmp_path: Path, name: str) -> None:
    swapped = voxels(dtype=">i2").tobytes(order="F")
    change = (
        {"endian: little": "endian: big"} if name == "a.nrrd" else {"MSB = False": "MSB = True"}
    )
    path = tmp_path / name
    path.write_bytes(text_image(NRRD if name == "a.nrrd" else META, change, swapped))
    assert np.array_equal(read(path).volume.data[0], voxels())
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T, voxels())


@pytest.mark.parametrize(
    ("space", "origin"),
    [
        ("left-posterior-superior", (-1, -2, 3)),
        ("RAS", (1, 2, 3)),
        ("left-anterior-superior", (-1, 2, 3)),
    ],
)
def test_the_space_of_nrrd_is_turned_to_ras(
    tmp_path: Path, space: str, origin: tuple[float, ...]
) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(text_image(NRRD, {"left-posterior-superior": space}))
    grid = read(path).volume.grid
    assert np.array_equal(grid.affine[:3, 3], origin)
    assert np.allclose(grid.affine, itk_affine(SimpleITK.ReadImage(str(path))))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_2d_images_have_depth_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels((9, 8)).T.copy()), str(path))
    scan = read(path)
    assert scan.volume.data.shape == (1, 9, 8, 1)
    assert [caution.code for caution in scan.cautions] == ["W_SPACING"]
    assert scan.volume.grid.axcodes == "LPS"


def test_frames_of_metaimage_are_read_one_by_one(tmp_path: Path) -> None:
    frames = [itk_image(voxels() + 200 * n, np.diag([-2.0, -2, 3, 1])) for n in range(3)]
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.JoinSeries(frames), str(path))
    scan = read(path, frames="each")
    assert [float(frame.data.min()) for frame in scan.frames] == [0, 200, 400]
    assert scan.geometry.dims == (5, 6, 7, 3)


def test_frames_of_nrrd_are_its_last_axis(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    change = {"dimension: 3": "dimension: 4", "5 6 7": "5 6 7 2", "(0,0,3)": "(0,0,3) none"}
    path.write_bytes(text_image(NRRD, change, RAW + voxels(dtype="i2").tobytes()))
    scan = read(path, frames="each")
    assert len(scan.frames) == 2
    assert np.array_equal(scan.frames[0].data[0], voxels())


def test_an_axis_of_one_value_a_voxel_is_no_vector(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    change = {"dimension: 3": "dimension: 4", "5 6 7": "1 5 6 7", "(2,0,0)": "none (2,0,0)"}
    path.write_bytes(text_image(NRRD, change))
    assert np.array_equal(read(path).volume.data[0], voxels())


def test_old_words_of_metaimage_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(text_image(META, {"TransformMatrix": "Rotation", "Offset": "Position"}))
    assert np.allclose(read(path).volume.grid.affine, itk_affine(SimpleITK.ReadImage(str(path))))


def test_remarks_in_nrrd_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(text_image(NRRD, {"endian": "# remark: x\nsizes:=9 9 9\nkey:=value\nendian"}))
    assert read(path).volume.data.shape == (1, 5, 6, 7)


def test_data_below_the_headers_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.raw").write_bytes(RAW)
    path = tmp_path / "a.nhdr"
    path.write_bytes(text_image(NRRD, {"\n\n": "\ndata file: raw/a.raw\n"}, b""))
    assert np.array_equal(read(path).volume.data[0], voxels())
