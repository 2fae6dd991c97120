"""Masks to files: the scan's own place bit for bit, reproducible, and nothing of its text."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affines import affines, shapes
from support.image_bytes import AFFINE, SHAPE, nifti, nifti2, sheared, voxels

from medseg.errors import OutputError
from medseg.image import Grid, Label, LabelMap, Labels, Study
from medseg.io import (
    Geometry,
    ReadOptions,
    Scan,
    read_labels,
    read_scan,
    write_label_table,
    write_mask,
)

LABELS = Labels((Label("liver", (1,), "#d95f02", "SCT:10200004"), Label("tumour", (2,))))
REGIONS = Labels(
    (
        Label("whole", (1, 2, 4), "#111111"),
        Label("core", (1, 4), "#222222"),
        Label("enhancing", (4,)),
    )
)
GRID = Grid(AFFINE, SHAPE)
PLACE = ["dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c"]
PLACE += ["quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"]


def mask_on(grid: Grid, labels: Labels = LABELS) -> LabelMap:
    return LabelMap((voxels(grid.shape) % 3).astype("u1"), grid, labels)


def scan_of(path: Path, raw: bytes, **options: object) -> Scan:
    path.write_bytes(raw)
    return read_scan(Study("a", (path,)), ReadOptions(**options))  # type: ignore[arg-type]


def same_place(scan: Path, mask: Path) -> bool:
    ours, theirs = nib.load(mask).header, nib.load(scan).header
    return all(
        np.asarray(ours[name]).astype(theirs[name].dtype).tobytes()
        == np.asarray(theirs[name]).astype(theirs[name].dtype).tobytes()
        for name in PLACE
    )


@settings(deadline=None, max_examples=60)
@given(
    affine=affines(),
    shape=shapes,
    codes=st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 1), (4, 3)]),
    unit=st.sampled_from([0, 2, 10]),
    order=st.sampled_from("<>"),
    version=st.sampled_from([1, 2]),
)
def test_a_mask_is_where_its_scan_is_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    codes: tuple[int, int],
    unit: int,
    order: str,
    version: int,
) -> None:
    folder = tmp_path_factory.mktemp("place")
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(voxels(shape), affine, kind.header_class(endianness=order))
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header["xyzt_units"] = unit
    nib.save(image, folder / "scan.nii.gz")
    scan = read_scan(Study("a", (folder / "scan.nii.gz",)))
    mask = mask_on(scan.volume.grid)
    write_mask(folder / "mask.nii.gz", mask, scan.geometry)
    assert same_place(folder / "scan.nii.gz", folder / "mask.nii.gz")
    assert type(nib.load(folder / "mask.nii.gz")) is kind
    read, cautions = read_labels(folder / "mask.nii.gz", LABELS, scan.volume.grid)
    assert np.array_equal(read.data, mask.data)
    assert cautions == ()


@pytest.mark.parametrize(
    "raw",
    [
        nifti(voxels((9, 8))),
        nifti(voxels((4, 5, 6, 1))),
        nifti(affine=np.diag([0.001, 0.001, 0.001, 1]) @ AFFINE, xyzt_units=1),
        nifti(srow=sheared(10)[:3].ravel(), qform_code=0),
        nifti(pixdim=(1, 0, 2, 3, 0, 0, 0, 0), qform_code=0),
        nifti2(),
    ],
    ids=["2-D", "one frame", "metres", "sheared", "pixdim 0", "NIfTI-2"],
)
def test_odd_places_are_kept_bit_for_bit(tmp_path: Path, raw: bytes) -> None:
    scan = scan_of(tmp_path / "scan.nii", raw)
    write_mask(tmp_path / "mask.nii", mask_on(scan.volume.grid), scan.geometry)
    assert same_place(tmp_path / "scan.nii", tmp_path / "mask.nii")
    read, _ = read_labels(tmp_path / "mask.nii", LABELS, scan.volume.grid)
    assert np.array_equal(read.data, mask_on(scan.volume.grid).data)


def test_a_mask_of_a_series_has_its_frames(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scan.nii", nifti(voxels((5, 6, 7, 3))), frames="each")
    masks = [mask_on(frame.grid) for frame in scan.frames]
    write_mask(tmp_path / "mask.nii.gz", masks, scan.geometry)
    assert same_place(tmp_path / "scan.nii", tmp_path / "mask.nii.gz")
    written = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert np.array_equal(written, np.stack([mask.data for mask in masks], -1))


def test_one_mask_of_a_series_is_3d_and_several_of_a_scan_are_4d(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scan.nii", nifti(voxels((5, 6, 7, 3))), frames="each")
    write_mask(tmp_path / "one.nii", [mask_on(GRID)], scan.geometry)
    assert nib.load(tmp_path / "one.nii").shape == (5, 6, 7)
    write_mask(tmp_path / "two.nii", [mask_on(GRID)] * 2)
    assert nib.load(tmp_path / "two.nii").shape == (5, 6, 7, 2)


def test_equal_masks_give_equal_bytes_and_the_digest_is_of_them(tmp_path: Path) -> None:
    turned = LabelMap(np.ascontiguousarray(mask_on(GRID).data), GRID, LABELS)
    first = write_mask(tmp_path / "a.nii.gz", mask_on(GRID))
    second = write_mask(tmp_path / "another_name.nii.gz", turned)
    assert first == second == sha256((tmp_path / "a.nii.gz").read_bytes()).hexdigest()
    packed = (tmp_path / "a.nii.gz").read_bytes()
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert len(gzip.decompress(packed)) > 352


@pytest.mark.parametrize(("value", "dtype"), [(255, "u1"), (256, "u2"), (65_535, "u2")])
def test_masks_are_as_small_as_their_table_lets_them(
    tmp_path: Path, value: int, dtype: str
) -> None:
    labels = Labels((Label("a", (value,)),))
    mask = LabelMap(np.where(voxels() > 60, value, 0).astype("u2"), GRID, labels)
    write_mask(tmp_path / "a.nii.gz", mask)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(np.asarray(image.dataobj), mask.data)


def test_values_above_the_table_are_not_lost(tmp_path: Path) -> None:
    mask = LabelMap(np.full(SHAPE, 300, "u2"), GRID, LABELS)
    write_mask(tmp_path / "a.nii", mask)
    assert (np.asarray(nib.load(tmp_path / "a.nii").dataobj) == 300).all()


def test_the_label_table_stands_in_an_extension(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.nii.gz", mask_on(GRID))
    (extension,) = nib.load(tmp_path / "a.nii.gz").header.extensions
    assert extension.get_code() == 6
    liver = {"value": 1, "colour": "#d95f02", "code": "SCT:10200004"}
    wanted = {"medseg": {"labels": {"liver": liver, "tumour": 2}}}
    assert json.loads(extension.get_content().rstrip(b"\0")) == wanted
    write_mask(tmp_path / "b.nii.gz", mask_on(GRID, REGIONS))
    (extension,) = nib.load(tmp_path / "b.nii.gz").header.extensions
    labels = json.loads(extension.get_content().rstrip(b"\0"))["medseg"]["labels"]
    assert labels["whole"] == {"values": [1, 2, 4], "colour": "#111111"}


def test_simpleitk_reads_what_is_written(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.nii.gz", mask_on(GRID))
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image).T, mask_on(GRID).data)
    assert np.allclose(image.GetOrigin(), (-20, -30, -40))


def test_nothing_of_the_scans_text_is_in_the_mask(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header["descrip"], image.header["aux_file"] = b"PLANTED-name", b"PLANTED-aux"
    image.header["db_name"], image.header["intent_name"] = b"PLANTED-db", b"PLANTED-intent"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"PLANTED-extension"))
    nib.save(image, tmp_path / "scan.nii")
    assert (tmp_path / "scan.nii").read_bytes().count(b"PLANTED") == 5
    scan = read_scan(Study("a", (tmp_path / "scan.nii",)))
    write_mask(tmp_path / "mask.nii", mask_on(scan.volume.grid), scan.geometry)
    assert b"PLANTED" not in (tmp_path / "mask.nii").read_bytes()


def test_a_mask_elsewhere_than_its_scan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not where its scan is"):
        write_mask(tmp_path / "a.nii.gz", mask_on(GRID.oriented("RAS")), Geometry.of(GRID))
    with pytest.raises(ValueError, match="no mask"):
        write_mask(tmp_path / "a.nii.gz", [])
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_says_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="E_OUTPUT_NAME"):
        write_mask(tmp_path / "a.png", mask_on(GRID))


def test_the_label_table_is_as_bids_has_it(tmp_path: Path) -> None:
    write_label_table(tmp_path / "dseg.tsv", LABELS)
    wanted = "index\tname\tcolor\n1\tliver\t#d95f02\n2\ttumour\tn/a\n"
    assert (tmp_path / "dseg.tsv").read_text() == wanted


def test_a_value_of_several_regions_has_all_their_names(tmp_path: Path) -> None:
    write_label_table(tmp_path / "dseg.tsv", REGIONS)
    rows = (tmp_path / "dseg.tsv").read_text().splitlines()[1:]
    assert rows == [
        "1\twhole+core\t#222222",
        "2\twhole\t#111111",
        "4\twhole+core+enhancing\tn/a",
    ]


def test_names_stay_in_their_cells_and_are_no_formulas(tmp_path: Path) -> None:
    labels = Labels((Label("=HYPERLINK(1)", (1,)), Label("a\tb\nc", (2,))))
    write_label_table(tmp_path / "dseg.tsv", labels)
    rows = (tmp_path / "dseg.tsv").read_text().split("\n")
    assert rows[1:3] == ["1\t'=HYPERLINK(1)\tn/a", "2\ta b c\tn/a"]


@pytest.mark.parametrize("member", [1, 100, 1000])
def test_a_large_mask_is_packed_in_members_and_reads_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: int
) -> None:
    grid = Grid(np.eye(4), (11, 12, 13))
    data = np.random.default_rng(1).integers(0, 3, grid.shape).astype(np.uint8)
    mask = LabelMap(data, grid, Labels((Label("a", (1,)), Label("b", (2,)))))
    monkeypatch.setattr("medseg.io.write._MEMBER", member)
    path = tmp_path / "mask.nii.gz"
    write_mask(path, mask)
    assert path.read_bytes().count(b"\x1f\x8b\x08" + bytes(6) + b"\xff") > 1
    assert np.array_equal(np.asarray(nib.load(path).dataobj), data)
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).T, data)
    assert np.array_equal(read_labels(path, mask.labels)[0].data, data)
