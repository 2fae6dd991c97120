"""The strict door: every row of the tables in, its code out."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from support.bad_files import BAD, ODD, Row
from support.image_bytes import AFFINE, nifti, voxels

from medseg.errors import StudyError
from medseg.image import Study
from medseg.io import ReadOptions, Scan, digests_of, read_scan, sha256_of
from medseg.io.stream import FileStream


def read(path: Path, **options: object) -> Scan:
    return read_scan(Study("study", (path,)), ReadOptions(**options))  # type: ignore[arg-type]


def made(row: Row, folder: Path) -> Path:
    path = folder / row.file
    row.make(path)
    return path


@pytest.mark.parametrize("row", BAD, ids=str)
def test_a_bad_file_is_refused_by_its_code_and_named(row: Row, tmp_path: Path) -> None:
    path = made(row, tmp_path)
    with pytest.raises(StudyError) as caught:
        read(path)
    assert caught.value.code == row.code, str(caught.value)
    assert row.says in caught.value.message
    assert Path(str(caught.value.path)).stem == path.stem


@pytest.mark.parametrize("row", ODD, ids=str)
def test_an_odd_file_is_read_with_a_caution(row: Row, tmp_path: Path) -> None:
    scan = read(made(row, tmp_path))
    assert [caution.code for caution in scan.cautions] == [row.code], scan.cautions
    assert row.says in scan.cautions[0].message
    assert np.isfinite(scan.volume.data).all()


def test_the_tables_have_no_row_twice() -> None:
    names = [row.name for row in (*BAD, *ODD)]
    assert len(set(names)) == len(names)


def test_a_good_file_has_nothing_to_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti())
    scan = read(path)
    assert scan.cautions == ()
    assert np.array_equal(scan.volume.data[0], voxels())
    assert np.array_equal(scan.volume.grid.affine, AFFINE)
    assert dict(scan.digests) == {"a.nii": sha256_of(path)} == dict(digests_of(scan.study))


def test_a_file_without_permission_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti())

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("medseg.io.stream.os.open", denied)
    with pytest.raises(StudyError, match="E_PERMISSION"):
        read(path)


def test_a_disk_that_fails_while_reading_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti())

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("medseg.io.stream.os.read", broken)
    with pytest.raises(StudyError, match=r"E_PERMISSION.*Input/output error"):
        read(path)


def test_names_that_no_system_has_are_not_found() -> None:
    for name in ("a\0b.nii", "x" * 5000):
        with pytest.raises(StudyError, match="E_NOT_FOUND"):
            FileStream(Path(name))


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.io.stream.stat.S_ISREG", lambda _: False)
    monkeypatch.setattr("medseg.io.stream._KINDS", ((stat.S_ISSOCK, "a socket"),))
    path = tmp_path / "a.nii"
    path.write_bytes(b"x")
    with pytest.raises(StudyError, match=r"E_NOT_A_FILE.*no regular file"):
        FileStream(path)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(voxels((50, 50, 50))))
    with pytest.raises(StudyError, match=r"E_TOO_LARGE.*125 000 voxels need 0.00047 GiB.*0.0004"):
        read(path, memory_gib=0.0004)
    assert read(path, memory_gib=0.0005).volume.data.size == 125_000
    with pytest.raises(StudyError, match=r"E_TOO_LARGE.*125 000 voxels, limits.voxels is 124 999"):
        read(path, voxels=124_999)
    assert read(path, voxels=125_000).volume.data.size == 125_000


def test_memory_that_is_not_there_is_an_error_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti())

    def none_left(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("medseg.io.voxels.np.empty", none_left)
    with pytest.raises(StudyError, match="E_MEMORY"):
        read(path)


def test_a_tail_without_end_is_not_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti() + bytes(5000))
    monkeypatch.setattr("medseg.io.image_file.MOST_TRAILING", 4000)
    with pytest.raises(StudyError, match=r"E_HEADER_INVALID.*4\.0 kB follow"):
        read(path)


def test_filling_gives_the_smallest_finite_value(tmp_path: Path) -> None:
    data = voxels(dtype="f4") - 50
    data[0, 0, 0], data[4, 5, 6] = np.nan, np.inf
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(data))
    scan = read(path, nonfinite="fill")
    assert scan.volume.data[0, 0, 0, 0] == scan.volume.data[0, 4, 5, 6] == -50
    kept = np.isfinite(data)
    assert np.array_equal(scan.volume.data[0][kept], data[kept])
    (caution,) = scan.cautions
    assert caution.code == "W_INTENSITY"
    assert "2 of 210" in caution.message
    assert "-50" in caution.message


def test_a_scan_of_nothing_but_nan_cannot_be_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(np.full((3, 4, 5), np.nan, "f4")))
    with pytest.raises(StudyError, match=r"E_NONFINITE.*60 of 60"):
        read(path, nonfinite="fill")


def test_a_mask_of_our_own_is_told_from_a_scan(tmp_path: Path) -> None:
    from medseg.image import Grid, Label, LabelMap, Labels
    from medseg.io import write_mask

    path = tmp_path / "m.nii.gz"
    grid = Grid(AFFINE, (5, 6, 7))
    mask = LabelMap(voxels(dtype="u1"), grid, Labels((Label("a", (1,)),)))
    write_mask(path, mask)
    assert "W_LOOKS_LIKE_OUTPUT" in [caution.code for caution in read(path).cautions]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonfinite", "keep"),
        ("geometry", "both"),
        ("frames", 1),
        ("align", None),
        ("memory_gib", 0),
    ],
)
def test_impossible_options_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        ReadOptions(**{name: value})  # type: ignore[arg-type]
