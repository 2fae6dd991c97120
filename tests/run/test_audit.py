"""Planted faults are found, and a data set without any has none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.studies import ball, ball_studies, save

from medseg.errors import InputError
from medseg.image import Label, Labels
from medseg.run.audit import Audit, Where, audit, read_looks, write_looks

BALL = Labels((Label("ball", (1,)),))


def data(folder: Path, count: int = 9) -> Path:
    """Studies 0 to ``count`` - 1, of which 2 to 6 have a fault, and a mask without an image."""
    ball_studies(folder, count)
    image, mask = ball(3)
    (folder / "labels/study_02.nii.gz").unlink()
    save(folder / "labels/study_77.nii.gz", mask)
    affine = np.diag([-1.5, -1.5, 2.0, 1.0])
    affine[:3, 3] = (80, 30, -25)
    save(folder / "labels/study_03.nii.gz", mask, affine)
    image = ball(4)[0]
    image[3, 4, 5] = np.nan
    save(folder / "images/study_04.nii.gz", image)
    mask = ball(5)[1]
    mask[0, 0, 0] = 9
    save(folder / "labels/study_05.nii.gz", mask)
    # The same voxels in another file: packed as NIfTI without compression, another affine.
    (folder / "images/study_06.nii.gz").unlink()
    save(folder / "images/study_06.nii", ball(1)[0], None)
    return folder


def looked(folder: Path, labels: Labels | None = BALL, **more: object) -> Audit:
    where = Where(folder / "images", folder / "labels")
    return audit(where, labels, **more)  # type: ignore[arg-type]


def test_six_planted_faults_are_named_with_their_studies(tmp_path: Path) -> None:
    found = looked(data(tmp_path))
    assert {(fault.kind, fault.study) for fault in found.faults} == {
        ("orphan image", "study_02"),
        ("orphan label", "study_77"),
        ("other grid", "study_03"),
        ("not finite", "study_04"),
        ("label value", "study_05"),
        ("duplicate", "study_06"),
    }
    assert [study.name for study in found.studies] == [
        "study_00", "study_01", "study_07", "study_08"
    ]  # fmt: skip
    told = {fault.study: str(fault) for fault in found.faults}
    assert "the very voxels of study_01" in told["study_06"]
    assert "(3, 4, 5)" in told["study_04"]
    assert "holds 9" in told["study_05"]
    assert "labels/study_77.nii.gz" in told["study_77"]


def test_sound_studies_have_no_fault(tmp_path: Path) -> None:
    ball_studies(tmp_path, 3)
    found = looked(tmp_path)
    assert found.faults == ()
    assert len(found.studies) == 3


def test_a_list_of_files_that_leaves_some_out_is_told(tmp_path: Path) -> None:
    ball_studies(tmp_path, 3)
    (tmp_path / "images").rename(tmp_path / "imagesTr")
    (tmp_path / "labels").rename(tmp_path / "labelsTr")
    listed = [{"image": f"imagesTr/study_0{n}.nii.gz", "label": f"labelsTr/study_0{n}.nii.gz"}
              for n in (0, 1, 5)]  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps({"training": listed}))
    save(tmp_path / "labelsTr/study_05.nii.gz", ball(5)[1])
    found = audit(Where(tmp_path), BALL)
    assert {(fault.kind, fault.study) for fault in found.faults} == {
        ("orphan image", "study_02"), ("orphan label", "study_02"), ("orphan label", "study_05")
    }  # fmt: skip


def test_of_twins_the_one_without_another_fault_is_kept(tmp_path: Path) -> None:
    ball_studies(tmp_path, 3)
    image, mask = ball(0)
    save(tmp_path / "images/study_01.nii.gz", image)
    save(tmp_path / "images/study_02.nii.gz", image)
    save(tmp_path / "labels/study_00.nii.gz", mask * 3)
    found = looked(tmp_path)
    assert [study.name for study in found.studies] == ["study_01"]
    told = {(fault.kind, fault.study): fault.message for fault in found.faults}
    assert "of study_01" in told["duplicate", "study_02"]
    assert ("label value", "study_00") in told


def test_one_study_may_have_several_faults(tmp_path: Path) -> None:
    ball_studies(tmp_path, 2)
    image, mask = ball(0)
    image[0] = np.inf
    save(tmp_path / "images/study_00.nii.gz", image)
    save(tmp_path / "labels/study_00.nii.gz", mask * 3)
    assert {fault.kind for fault in looked(tmp_path).faults} == {"not finite", "label value"}


def test_without_a_table_every_value_is_a_label(tmp_path: Path) -> None:
    found = looked(data(tmp_path), None, whole=True)
    assert "study_05" in {study.name for study in found.studies}
    assert next(one for one in found.seen if one.name == "study_05").voxels.keys() == {1, 9}


def test_what_was_looked_at_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    data(tmp_path)
    kept = tmp_path / "audit.json"
    first = looked(tmp_path, keep=lambda looks: write_looks(kept, looks, "x"))
    files = sorted((tmp_path / "images").iterdir())
    times = {file: file.stat() for file in files}
    for file in files:
        # Another look would find that it cannot be read: same size, same time, no scan.
        file.write_bytes(b"\0" * times[file].st_size)
        os.utime(file, ns=(times[file].st_atime_ns, times[file].st_mtime_ns))
    assert looked(tmp_path, known=read_looks(kept, "x")).faults == first.faults
    assert read_looks(kept, "another table") == {}
    assert read_looks(tmp_path / "none.json", "x") == {}
    shutil.copy(files[0], files[1])
    again = looked(tmp_path, known=read_looks(kept, "x"))
    assert ("unreadable", "study_01") in {(fault.kind, fault.study) for fault in again.faults}


def test_measures_of_a_study_are_those_of_its_ball(tmp_path: Path) -> None:
    ball_studies(tmp_path, 1)
    (seen,) = looked(tmp_path, whole=True).seen
    mask = np.asarray(nib.load(tmp_path / "labels/study_00.nii.gz").dataobj)
    assert seen.shape == (20, 22, 18)
    assert seen.spacing_mm == pytest.approx((1.5, 1.5, 2.0))
    assert seen.voxels == {1: int(mask.sum())}
    assert seen.pieces == {"ball": 1}
    wide = [np.ptp(np.nonzero(mask)[axis]) + 1 for axis in range(3)]
    assert seen.extent_mm == pytest.approx(
        [n * s for n, s in zip(wide, (1.5, 1.5, 2), strict=True)]
    )
    assert 95 < float(seen.samples.mean()) < 105


def test_no_mask_at_all_is_an_error(tmp_path: Path) -> None:
    ball_studies(tmp_path, 1)
    with pytest.raises(InputError, match="no reference mask"):
        audit(Where(tmp_path / "images"), BALL)
