"""NIfTI in every form that is good, held against nibabel."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affines import affines, shapes
from support.image_bytes import AFFINE, gz, nifti, nifti2, pair, voxels

from medseg.errors import StudyError
from medseg.image import Study
from medseg.io import ReadOptions, Scan, digests_of, read_label_values, read_scan, sha256_of

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
DTYPES = [*INTEGERS, "f4", "f8"]


def read(path: Path, **options: object) -> Scan:
    return read_scan(Study("study", (path,)), ReadOptions(**options))  # type: ignore[arg-type]


def random_voxels(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    if dtype.startswith("f"):
        return chance.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return chance.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


@settings(deadline=None, max_examples=60)
@given(
    affine=affines(),
    shape=shapes,
    dtype=st.sampled_from(DTYPES),
    order=st.sampled_from("<>"),
    packed=st.booleans(),
    version=st.sampled_from([1, 2]),
    forms=st.sampled_from(["both", "sform", "qform"]),
    seed=st.integers(0, 99),
)
def test_good_files_are_read_as_nibabel_reads_them(
    tmp_path_factory: pytest.TempPathFactory,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    dtype: str,
    order: str,
    packed: bool,
    version: int,
    forms: str,
    seed: int,
) -> None:
    data = random_voxels(shape, dtype, seed)
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(data, affine, kind.header_class(endianness=order), dtype=dtype)
    image.set_sform(affine, 1 if forms != "qform" else 0)
    image.set_qform(affine, 2 if forms != "sform" else 0)
    path = tmp_path_factory.mktemp("nifti") / ("a.nii.gz" if packed else "a.nii")
    nib.save(image, path)

    scan, theirs = read(path), nib.load(path)
    assert np.array_equal(scan.volume.data[0], np.asarray(theirs.dataobj).astype(np.float32))
    assert np.allclose(scan.volume.grid.affine, theirs.affine, atol=2e-4, rtol=0)
    if dtype in INTEGERS:
        values, grid = read_label_values(path)
        assert values.dtype.isnative
        assert np.array_equal(values, data)
        assert grid == scan.volume.grid
    fields = theirs.header
    geometry = scan.geometry
    assert geometry.srow == tuple(np.concatenate([fields[f"srow_{c}"] for c in "xyz"]).tolist())
    assert geometry.pixdim == tuple(fields["pixdim"].tolist())
    assert geometry.quaternion == tuple(float(fields[f"quatern_{c}"]) for c in "bcd")
    assert geometry.offset == tuple(float(fields[f"qoffset_{c}"]) for c in "xyz")
    assert (geometry.sform_code, geometry.qform_code) == (
        int(fields["sform_code"]),
        int(fields["qform_code"]),
    )
    assert (geometry.version, geometry.dims) == (version, theirs.shape)


@settings(deadline=None, max_examples=25)
@given(
    slope=st.sampled_from([2.0, -0.5, 1 / 255, 1e-3]),
    inter=st.sampled_from([0.0, -1024.0, 0.25]),
    dtype=st.sampled_from(["u1", ">i2", "i4", "f4"]),
)
def test_scaling_is_the_standards(
    tmp_path_factory: pytest.TempPathFactory, slope: float, inter: float, dtype: str
) -> None:
    raw = voxels(dtype=dtype.lstrip(">"))
    path = tmp_path_factory.mktemp("scaled") / "a.nii"
    path.write_bytes(nifti(raw, scl_slope=slope, scl_inter=inter))
    assert np.array_equal(read(path).volume.data[0], nib.load(path).get_fdata().astype("f4"))


def test_a_slope_of_zero_scales_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(scl_slope=0, scl_inter=0))
    scan = read(path)
    assert scan.cautions == ()
    assert np.array_equal(scan.volume.data[0], voxels())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("asked", ["a.hdr", "a.img"])
def test_a_pair_is_read_by_either_name(tmp_path: Path, packed: bool, asked: str) -> None:
    pair(tmp_path / "a.hdr")
    names = ["a.hdr", "a.img"]
    if packed:
        names = ["a.hdr.gz", "a.img.gz"]
        for name in ("a.hdr", "a.img"):
            (tmp_path / f"{name}.gz").write_bytes(gz((tmp_path / name).read_bytes()))
            (tmp_path / name).unlink()
    scan = read(tmp_path / (asked + ".gz" * packed))
    assert np.array_equal(scan.volume.data[0], voxels())
    assert np.allclose(scan.volume.grid.affine, AFFINE)
    assert scan.cautions == ()
    assert dict(scan.digests) == {name: sha256_of(tmp_path / name) for name in names}
    assert digests_of(scan.study) == scan.digests


def test_nibabels_pair_is_read(tmp_path: Path) -> None:
    data = voxels()
    image = nib.Nifti1Pair(data, AFFINE)
    image.set_qform(AFFINE, 1)
    nib.save(image, tmp_path / "a.hdr")
    assert np.array_equal(read(tmp_path / "a.img").volume.data[0], data)


def test_a_pair_in_capitals_is_found(tmp_path: Path) -> None:
    pair(tmp_path / "a.hdr")
    (tmp_path / "a.hdr").rename(tmp_path / "A.HDR")
    (tmp_path / "a.img").rename(tmp_path / "A.IMG")
    assert np.array_equal(read(tmp_path / "A.HDR").volume.data[0], voxels())
    assert np.array_equal(read(tmp_path / "A.IMG").volume.data[0], voxels())


def test_voxels_that_begin_like_gzip_are_still_voxels(tmp_path: Path) -> None:
    pair(tmp_path / "a.hdr")
    data = voxels()
    data[:2, 0, 0] = np.frombuffer(b"\x1f\x8b\x08\x00", "<i2")
    (tmp_path / "a.img").write_bytes(data.tobytes(order="F"))
    assert np.array_equal(read(tmp_path / "a.hdr").volume.data[0], data)


def test_a_single_file_called_img_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(nifti())
    scan = read(path)
    assert np.array_equal(scan.volume.data[0], voxels())
    assert [caution.code for caution in scan.cautions] == ["W_SUFFIX"]


def test_a_header_called_otherwise_finds_its_img(tmp_path: Path) -> None:
    pair(tmp_path / "a.hdr")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    assert np.array_equal(read(tmp_path / "a.nii").volume.data[0], voxels())


def test_gzip_members_after_each_other_are_one_stream(tmp_path: Path) -> None:
    raw = nifti()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gz(raw[:100]) + gz(raw[100:500]) + gz(raw[500:]))
    scan = read(path)
    assert np.array_equal(scan.volume.data[0], voxels())
    assert scan.cautions == ()


def test_gzip_members_may_begin_anywhere_in_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = nifti()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gz(raw[:400]) + gz(raw[400:]))
    for chunk in (1, 2, 3, 7, 50):
        monkeypatch.setattr("medseg.io.stream.CHUNK", chunk)
        scan = read(path)
        assert np.array_equal(scan.volume.data[0], voxels())
        assert scan.cautions == ()


def test_gzip_with_a_name_and_a_time_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with gzip.GzipFile(path, "wb", mtime=1_700_000_000) as file:
        file.write(nifti())
    assert np.array_equal(read(path).volume.data[0], voxels())


def test_voxels_may_begin_late(tmp_path: Path) -> None:
    raw = nifti(vox_offset=1024)
    path = tmp_path / "a.nii"
    path.write_bytes(raw[:352] + bytes(1024 - 352) + raw[352:])
    assert np.array_equal(read(path).volume.data[0], voxels())


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 4, 3), (31, 1, 1), (7, 9), (7, 9, 1), (4, 5, 6, 1)]
)
def test_sizes_that_must_work_do(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gz(nifti(voxels(shape))))
    scan = read(path)
    assert scan.volume.data.shape == (1, *(*shape, 1, 1)[:3])
    assert np.array_equal(scan.volume.data.ravel("F"), voxels(shape).ravel("F"))
    assert scan.geometry.dims == shape
    assert scan.geometry.shape == scan.volume.grid.shape
    assert scan.geometry.affine is scan.volume.grid.affine


def test_frames_are_read_one_by_one(tmp_path: Path) -> None:
    data = voxels((5, 6, 7, 3))
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gz(nifti(data)))
    scan = read(path, frames="each")
    assert len(scan.frames) == 3
    for number, frame in enumerate(scan.frames):
        assert np.array_equal(frame.data[0], data[..., number])
    with pytest.raises(ValueError, match="3 frames"):
        _ = scan.volume
    with pytest.raises(StudyError, match="E_NDIM"):
        read_label_values(path, ReadOptions(frames="each"))


def test_cautions_name_the_frame(tmp_path: Path) -> None:
    data = voxels((5, 6, 7, 2))
    data[..., 1] = 3
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(data))
    (caution,) = read(path, frames="each").cautions
    assert caution.code == "W_CONSTANT"
    assert caution.message.startswith("frame 2: ")


@pytest.mark.parametrize("rule", ["sform", "qform"])
def test_a_contradiction_is_read_by_the_form_that_is_asked_for(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(qoffset=(21, 30, -40)))
    theirs = nib.load(path)
    wanted = theirs.get_sform() if rule == "sform" else theirs.get_qform()
    assert np.allclose(read(path, geometry=rule).volume.grid.affine, wanted)


@pytest.mark.parametrize("rule", ["sform", "qform"])
def test_a_rule_for_a_form_that_is_unset_takes_the_other(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(**{f"{rule}_code": 0}))
    assert np.allclose(read(path, geometry=rule).volume.grid.affine, AFFINE)


def test_forms_may_differ_by_what_float32_leaves_of_a_quaternion(tmp_path: Path) -> None:
    # 0.05 mm in 7 voxels of 2 mm are within 5 % of a voxel, 0.12 mm are not.
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(qoffset=(20.09, 30, -40)))
    assert read(path).cautions == ()
    path.write_bytes(nifti(qoffset=(20.12, 30, -40)))
    with pytest.raises(StudyError, match="E_GEOMETRY_CONFLICT"):
        read(path)


@pytest.mark.parametrize(("unit", "factor"), [(1, 0.001), (3, 1000.0)])
def test_metres_and_microns_become_millimetres(tmp_path: Path, unit: int, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ AFFINE
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(affine=affine, xyzt_units=unit))
    scan = read(path)
    assert np.allclose(scan.volume.grid.affine, AFFINE, atol=1e-4)
    assert scan.geometry.xyzt_units == unit
    assert np.allclose(scan.geometry.srow, affine[:3].ravel())


def test_a_flat_sform_gets_a_normal(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    flat = AFFINE * [1, 1, 0, 1]
    path.write_bytes(nifti(voxels((9, 8)), srow=flat[:3].ravel(), qform_code=0))
    assert np.allclose(read(path).volume.grid.affine[:3, 2], (0, 0, 1))


def test_big_dimensions_of_nifti_2_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    data = np.arange(40_000, dtype="i4").reshape(40_000, 1, 1)
    path.write_bytes(nifti2(data, np.diag([0.05, 1, 1, 1])))
    assert read(path).geometry.dims == (40_000, 1, 1)


def test_a_mirrored_quaternion_is_read_as_nibabel_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(affine=AFFINE * [1, 1, -1, 1], sform_code=0))
    assert np.allclose(read(path).volume.grid.affine, nib.load(path).affine)
    assert read(path).volume.grid.axcodes == "LPI"
