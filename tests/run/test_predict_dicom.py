"""``medseg run`` on DICOM: masks on the series' grid, and nothing of the patient anywhere."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.dicom import TO_RAS, lps, pydicom, write_series
from support.studies import ball, save

from medseg.io import read_labels
from medseg.pipeline import load_pipeline
from medseg.run.predict import predict

PIPELINE = """\
name: ball
labels: {ball: 1}
preprocess:
  - orientation: {axcodes: RAS}
inference:
  - threshold: {minimum: 50}
"""
PLANTED = "XQPLANTEDQX"
TAGS = {
    "PatientName": f"{PLANTED}^A",
    "PatientID": PLANTED,
    "PatientBirthDate": "19330907",
    "PatientAddress": PLANTED,
    "OtherPatientIDs": PLANTED,
    "AccessionNumber": PLANTED,
    "ReferringPhysicianName": f"{PLANTED}^B",
    "InstitutionName": PLANTED,
    "StudyDescription": PLANTED,
    "SeriesDescription": PLANTED,
    "PatientComments": PLANTED,
    "ProtocolName": PLANTED,
}


def pipeline(folder: Path, more: str = "") -> Path:
    path = folder / "ball.yaml"
    path.write_text(PIPELINE + more)
    return path


def test_a_tree_of_series_becomes_masks_on_their_grids(tmp_path: Path) -> None:
    affine = lps(tilt=9.0)
    truths = []
    for patient in range(2):
        image, truth = ball(patient)
        write_series(tmp_path / "scans" / str(patient) / "ct", image.astype(np.int16), affine)
        truths.append(truth)
    loaded = replace(load_pipeline(pipeline(tmp_path)), output=tmp_path / "out")
    loaded = replace(loaded, input=replace(loaded.input, path=tmp_path / "scans"))
    summary = predict(loaded)
    assert [outcome.state for outcome in summary.outcomes] == ["done", "done"]
    masks = [nib.load(path) for path in sorted((tmp_path / "out/masks").glob("*.nii.gz"))]
    for mask in masks:
        assert np.allclose(mask.affine, TO_RAS @ affine, atol=1e-3)
        found = np.asarray(mask.dataobj)
        assert any(np.mean(found == truth) > 0.999 for truth in truths)
    assert [outcome.state for outcome in predict(loaded).outcomes] == ["kept", "kept"]


def test_a_visit_of_two_series_fails_alone_and_a_rule_makes_it_whole(tmp_path: Path) -> None:
    image, _ = ball(0)
    for name, modality in (("a", "CT"), ("b", "MR")):
        paths = write_series(
            tmp_path / "scans" / name, image.astype(np.int16), lps(), Modality=modality
        )
        for path in paths:
            found = pydicom.dcmread(path)
            found.StudyInstanceUID = "1.2.3.4"
            found.save_as(path)
    loaded = replace(load_pipeline(pipeline(tmp_path)), output=tmp_path / "out")
    loaded = replace(loaded, input=replace(loaded.input, path=tmp_path / "scans"))
    (failure,) = predict(loaded).failures
    assert failure.error is not None
    assert failure.error.code == "E_DICOM_MIXED"
    ruled = load_pipeline(pipeline(tmp_path, "input: {path: scans, series: {modality: CT}}\n"))
    summary = predict(replace(ruled, output=tmp_path / "out"))
    assert [outcome.state for outcome in summary.outcomes] == ["done"]


def medseg(folder: Path, *words: str) -> str:
    """What a command says, on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "medseg", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "always"},
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["none", "gap", "values"])
def test_planted_strings_of_dicom_are_nowhere(tmp_path: Path, fault: str) -> None:
    image, _ = ball(0)
    leave = [5] if fault == "gap" else []
    paths = write_series(tmp_path / "scans", image.astype(np.int16), lps(), leave_out=leave, **TAGS)
    if fault == "values":
        data = paths[3].read_bytes()
        # Numbers that are none: readers quote such values in their warnings.
        place = data.index(b"\x20\x00\x32\x00DS")
        data = data[: place + 8] + PLANTED[:8].encode() + data[place + 16 :]
        paths[3].write_bytes(data)
    said = medseg(tmp_path, "ls", "scans")
    said += medseg(tmp_path, "run", str(pipeline(tmp_path)), "--input", "scans", "--output", "out")
    assert PLANTED[:8] not in said
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.name.endswith(".gz"):
                data = gzip.decompress(data)
            assert PLANTED[:8].encode() not in data
    if fault != "none":
        assert "E_" in said


def test_planted_strings_of_nifti_are_nowhere(tmp_path: Path) -> None:
    data, _ = ball(0)
    image = nib.Nifti1Image(data, np.diag([-1.5, -1.5, 2.0, 1.0]))
    image.set_sform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = PLANTED.encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PLANTED.encode()))
    (tmp_path / "scans").mkdir()
    nib.save(image, tmp_path / "scans" / "a.nii.gz")
    said = medseg(tmp_path, "run", str(pipeline(tmp_path)), "--input", "scans", "--output", "out")
    assert PLANTED not in said
    (mask,) = (tmp_path / "out/masks").glob("*.nii.gz")
    assert PLANTED.encode() not in gzip.decompress(mask.read_bytes())
    for path in (tmp_path / "out").rglob("*.json"):
        assert PLANTED not in path.read_text()


def test_masks_are_written_in_every_form_that_is_asked_for(tmp_path: Path) -> None:
    image, _ = ball(0)
    write_series(tmp_path / "scans", image.astype(np.int16), lps())
    formats = "[nifti, dicom_seg, rtstruct, seg_nrrd, stl, ply, itksnap, slicer, bids]"
    path = pipeline(
        tmp_path, f"input: {{path: scans}}\noutput: {{path: out, formats: {formats}}}\n"
    )
    loaded = load_pipeline(path)
    (outcome,) = predict(loaded).outcomes
    assert outcome.state == "done"
    name, out = outcome.name, tmp_path / "out"
    mask, _ = read_labels(out / "masks" / f"{name}.nii.gz", loaded.labels)
    for form in ("dicom_seg", "rtstruct"):
        again, _ = read_labels(out / form / f"{name}.dcm", loaded.labels, mask.grid)
        assert np.array_equal(again.data, mask.data)
    again, _ = read_labels(out / "seg_nrrd" / f"{name}.seg.nrrd", loaded.labels, mask.grid)
    assert np.array_equal(again.data, mask.data)
    assert (out / "stl" / name / "ball.stl").is_file()
    assert (out / "ply" / name / "ball.ply").is_file()
    root = out / "derivatives" / "medseg"
    (derivative,) = root.rglob("*_dseg.nii.gz")
    subject = name.replace("-", "")
    assert derivative.relative_to(root).as_posix() == (
        f"sub-{subject}/anat/sub-{subject}_seg-ball_dseg.nii.gz"
    )
    said = json.loads((root / "dataset_description.json").read_text())
    assert said["GeneratedBy"][0]["Name"] == "medseg"

    seg = out / "dicom_seg" / f"{name}.dcm"
    seg.unlink()
    (outcome,) = predict(loaded).outcomes
    assert outcome.state == "kept"
    assert np.array_equal(read_labels(seg, loaded.labels, mask.grid)[0].data, mask.data)


def test_a_form_that_refers_to_dicom_is_refused_for_other_scans(tmp_path: Path) -> None:
    save(tmp_path / "scans" / "a.nii.gz", ball(0)[0])
    more = "input: {path: scans}\noutput: {path: out, formats: [dicom_seg]}\n"
    (failure,) = predict(load_pipeline(pipeline(tmp_path, more))).failures
    assert failure.error is not None
    assert failure.error.code == "E_NO_SOURCE"


@pytest.mark.real
def test_real_series_become_masks_on_the_published_grid(real_data: Path, tmp_path: Path) -> None:
    more = "input: {series: {modality: CT}}\noutput: {formats: [dicom_seg, rtstruct]}\n"
    loaded = load_pipeline(pipeline(tmp_path, more)).writing_to(tmp_path / "out")
    where = replace(loaded.input, path=real_data / "sarcoma" / "dicom")
    summary = predict(replace(loaded, input=where))
    assert [outcome.state for outcome in summary.outcomes] == ["done", "done"]
    theirs = [
        nib.load(real_data / f"sarcoma/nifti/{name}/CT_mask.nii.gz")
        for name in ("STS_019", "STS_025")
    ]
    for outcome in summary.outcomes:
        # The structure of the RTSTRUCT beside it is the only label's, whatever it is called.
        assert outcome.record["judged_by"]["reference_sha256"] is not None
        assert outcome.record["reference_volumes_ml"]["ball"] > 1
        path = tmp_path / "out" / "masks" / f"{outcome.name}.nii.gz"
        mask, _ = read_labels(path, loaded.labels)
        assert any(
            mask.data.shape == one.shape and np.allclose(mask.grid.affine, one.affine, atol=1e-3)
            for one in theirs
        )
        for form in ("dicom_seg", "rtstruct"):
            drawn = tmp_path / "out" / form / f"{outcome.name}.dcm"
            again, _ = read_labels(drawn, loaded.labels, mask.grid)
            assert np.array_equal(again.data, mask.data)
