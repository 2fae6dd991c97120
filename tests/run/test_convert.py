"""``medseg convert``: every form to every other, and data sets from layout to layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.dicom import lps, write_series
from support.studies import ball, ball_studies, save

from medseg.errors import InputError
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import find_studies, read_labels, read_scan, write_mask
from medseg.run.convert import Conversion, convert, target_of

TABLE = Labels((Label("liver", (1,)), Label("tumor", (3,), "#ff0000")))


def drawn(folder: Path) -> tuple[Path, LabelMap, Path]:
    """A DICOM series, a mask of it, and the mask as NIfTI."""
    image, truth = ball(0)
    write_series(folder / "ct", image.astype(np.int16), lps())
    scan = read_scan(Study("a", (folder / "ct",)))
    mask = LabelMap((truth * 3).astype(np.uint8), scan.volume.grid, TABLE)
    mask.data[:4, :4, :4] = 1
    write_mask(folder / "mask.nii.gz", mask, scan.geometry)
    return folder / "ct", mask, folder / "mask.nii.gz"


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.nrrd"])
def test_a_series_becomes_one_file_with_the_same_voxels(tmp_path: Path, name: str) -> None:
    folder, _, _ = drawn(tmp_path)
    out = tmp_path / "out" / name
    assert convert(folder, out, Conversion(target_of(out))).written == (out,)
    ours, again = read_scan(Study("a", (folder,))), read_scan(Study("b", (out,)))
    assert np.array_equal(ours.volume.data, again.volume.data)
    assert ours.volume.grid.near(again.volume.grid, 1e-3)


def test_a_tree_of_series_becomes_a_folder_of_files(tmp_path: Path) -> None:
    for number in range(2):
        write_series(tmp_path / "in" / str(number), ball(number)[0].astype(np.int16), lps())
    write_series(tmp_path / "in" / "2", ball(2)[0].astype(np.int16), lps(), leave_out=[7])
    done = convert(tmp_path / "in", tmp_path / "out", Conversion("nifti"))
    names = {study.name for study in find_studies(tmp_path / "in").studies}
    assert len(done.written) == 2
    assert {error.code for error in done.failures.values()} == {"E_DICOM_GAP"}
    made = {path.name.removesuffix(".nii.gz") for path in done.written}
    assert made | set(done.failures) == names


@pytest.mark.parametrize(
    ("to", "name"), [("dicom_seg", "a.dcm"), ("rtstruct", "a.dcm"), ("seg_nrrd", "a.seg.nrrd")]
)
def test_a_mask_goes_to_another_form_and_comes_back(tmp_path: Path, to: str, name: str) -> None:
    folder, mask, path = drawn(tmp_path)
    there, back = tmp_path / name, tmp_path / "back.nii.gz"
    convert(path, there, Conversion(to, scan=folder))
    convert(there, back, Conversion("nifti", scan=folder))
    # SEG and RTSTRUCT count their structures; only .seg.nrrd keeps the values.
    tumor = 3 if to == "seg_nrrd" else 2
    table = Labels((Label("liver", (1,)), Label("tumor", (tumor,))))
    again, _ = read_labels(back, table, mask.grid)
    assert np.array_equal(again.data == 1, mask.data == 1)
    assert np.array_equal(again.data == tumor, mask.data == 3)


def test_surfaces_and_tables_are_made_of_masks(tmp_path: Path) -> None:
    _, _, path = drawn(tmp_path)
    convert(path, tmp_path / "stl", Conversion("stl"))
    assert {one.name for one in (tmp_path / "stl").iterdir()} == {"liver.stl", "tumor.stl"}
    convert(path, tmp_path / "a.txt", Conversion("itksnap"))
    assert '"tumor"' in (tmp_path / "a.txt").read_text()
    assert "  3   255    0    0 " in (tmp_path / "a.txt").read_text()


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    folder, _, path = drawn(tmp_path)
    with pytest.raises(InputError, match=r"E_NO_SOURCE.*--scan"):
        convert(path, tmp_path / "a.dcm", Conversion("dicom_seg"))
    convert(path, tmp_path / "rt.dcm", Conversion("rtstruct", scan=folder))
    with pytest.raises(InputError, match=r"E_NO_INPUT.*--scan"):
        convert(tmp_path / "rt.dcm", tmp_path / "b.nii.gz", Conversion("nifti"))
    with pytest.raises(InputError, match=r"E_OUTPUT_NAME.*--to"):
        target_of(tmp_path / "a.xyz")


def test_a_plain_mask_has_the_names_it_is_given(tmp_path: Path) -> None:
    _, truth = ball(0)
    save(tmp_path / "a.nii.gz", truth)
    out = tmp_path / "a.seg.nrrd"
    convert(tmp_path / "a.nii.gz", out, Conversion("seg_nrrd"))
    assert b"Segment0_Name:=1\n" in out.read_bytes()
    named = Labels((Label("ball", (1,)),))
    convert(tmp_path / "a.nii.gz", out, Conversion("seg_nrrd", labels=named))
    assert b"Segment0_Name:=ball\n" in out.read_bytes()


LAYOUTS = {"nnunet": "nnU-Net", "decathlon": "Decathlon", "bids": "BIDS"}


@pytest.mark.parametrize("to", LAYOUTS)
@pytest.mark.parametrize("via", LAYOUTS)
def test_a_data_set_keeps_its_voxels_on_every_way(tmp_path: Path, via: str, to: str) -> None:
    ball_studies(tmp_path, 2)
    labels = Labels((Label("ball", (1,)),))
    channels = ("T1w",) if "bids" in (via, to) else ("image",)
    first = Conversion(via, labels=labels, channels=channels, reference=tmp_path / "labels")
    convert(tmp_path / "images", tmp_path / "one", first)
    second = Conversion(to, channels=first.channels)
    done = convert(tmp_path / "one", tmp_path / "two", second)
    assert done.failures == {}
    found = find_studies(tmp_path / "two", channels=first.channels)
    assert found.layout == LAYOUTS[to]
    assert len(found.studies) == 2
    for number, study in enumerate(found.studies):
        image, truth = ball(number)
        assert np.allclose(read_scan(study).volume.data[0], image)
        assert study.reference is not None
        assert np.array_equal(read_labels(study.reference, labels)[0].data, truth)


def test_descriptions_of_data_sets_say_what_is_in_them(tmp_path: Path) -> None:
    ball_studies(tmp_path, 2)
    (tmp_path / "labels" / "study_01.nii.gz").unlink()
    labels = Labels((Label("ball", (1,)),))
    asked = Conversion("nnunet", labels, channels=("CT",), reference=tmp_path / "labels")
    convert(tmp_path / "images", tmp_path / "nn", asked)
    said = json.loads((tmp_path / "nn" / "dataset.json").read_text())
    assert said == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    assert (tmp_path / "nn" / "imagesTs" / "study_01_0000.nii.gz").is_file()
    with pytest.raises(InputError, match="not empty"):
        convert(tmp_path / "images", tmp_path / "nn", asked)


def test_dicom_with_its_contours_becomes_a_data_set(tmp_path: Path) -> None:
    folder, mask, path = drawn(tmp_path)
    convert(path, folder / "rt.dcm", Conversion("rtstruct", scan=folder))
    convert(folder, tmp_path / "nn", Conversion("nnunet", labels=TABLE))
    (study,) = find_studies(tmp_path / "nn").studies
    assert study.reference is not None
    again, _ = read_labels(study.reference, TABLE, read_scan(study).volume.grid)
    assert np.array_equal(again.data, mask.data)
