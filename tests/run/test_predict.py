"""``medseg run``: masks, records, tables, failures by name, and runs that go on."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from support.runs import everything, states
from support.studies import ball_studies, save

from medseg.errors import InputError, OutputError
from medseg.io import write_mask
from medseg.pipeline import Pipeline, Site, load_pipeline
from medseg.run.events import Event, StudyDone
from medseg.run.folder import held
from medseg.run.predict import RunSummary, plan, predict
from medseg.step import Step


def run(path: Path, output: Path, **options: object) -> RunSummary:
    return predict(replace(load_pipeline(path), output=output), **options)  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_masks_volumes_and_dice(tmp_path: Path) -> None:
    summary = run(ball_studies(tmp_path, 3), tmp_path / "out")
    assert states(summary) == ["done"] * 3
    for number in range(3):
        name = f"study_{number:02d}.nii.gz"
        mask = nib.load(tmp_path / "out/masks" / name)
        truth = nib.load(tmp_path / "labels" / name)
        assert np.array_equal(np.asarray(mask.dataobj), np.asarray(truth.dataobj))
        assert np.array_equal(mask.affine, truth.affine)
    volumes = rows(tmp_path / "out/volumes.csv")
    truth = np.asarray(nib.load(tmp_path / "labels/study_00.nii.gz").dataobj)
    assert float(volumes[0]["volume_ml"]) == pytest.approx(truth.sum() * 4.5 / 1000, abs=1e-6)
    dice = [row for row in rows(tmp_path / "out/metrics.csv") if row["metric"] == "dice"]
    assert [float(row["value"]) for row in dice] == [1.0] * 3
    assert json.loads((tmp_path / "out/summary.json").read_text())["done"] == 3


def test_three_bad_studies_of_twenty_are_explained_and_seventeen_are_done(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 20)
    broken = tmp_path / "images/study_04.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    holed = np.asarray(nib.load(tmp_path / "images/study_09.nii.gz").dataobj).copy()
    holed[3, 3, 3] = np.nan
    save(tmp_path / "images/study_09.nii.gz", holed)
    save(tmp_path / "labels/study_15.nii.gz", np.zeros((9, 9, 9), np.uint8))
    summary = run(path, tmp_path / "out")
    codes = {outcome.name: outcome.error.code for outcome in summary.failures if outcome.error}
    assert codes == {
        "study_04": "E_TRUNCATED",
        "study_09": "E_NONFINITE",
        "study_15": "E_LABEL_GEOMETRY",
    }
    assert states(summary).count("done") == 17
    assert len(list((tmp_path / "out/masks").glob("*.nii.gz"))) == 17
    record = json.loads((tmp_path / "out/studies/study_04.json").read_text())
    assert record["state"] == "failed"
    assert record["error"]["code"] == "E_TRUNCATED"
    assert json.loads((tmp_path / "out/summary.json").read_text())["failed"] == codes


def test_done_studies_are_kept_and_changed_ones_are_done_again(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 3)
    run(path, tmp_path / "out")
    assert states(run(path, tmp_path / "out")) == ["kept"] * 3
    image = np.asarray(nib.load(tmp_path / "images/study_01.nii.gz").dataobj) + 1
    save(tmp_path / "images/study_01.nii.gz", image)
    assert states(run(path, tmp_path / "out")) == ["kept", "done", "kept"]


@pytest.mark.parametrize("harm", ["mask", "record", "pipeline"])
def test_a_mask_that_no_longer_stands_is_made_again(tmp_path: Path, harm: str) -> None:
    path = ball_studies(tmp_path, 2)
    run(path, tmp_path / "out")
    before = everything(tmp_path / "out")
    if harm == "mask":
        (tmp_path / "out/masks/study_00.nii.gz").write_bytes(b"rot")
    elif harm == "record":
        (tmp_path / "out/studies/study_00.json").write_text("{")
    else:
        path.write_text(path.read_text().replace("minimum: 50", "minimum: 60"))
    again = states(run(path, tmp_path / "out"))
    assert again == (["done", "done"] if harm == "pipeline" else ["done", "kept"])
    if harm != "pipeline":
        assert everything(tmp_path / "out") == before


def test_overwrite_does_everything_again(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    run(path, tmp_path / "out")
    assert states(run(path, tmp_path / "out", overwrite=True)) == ["done", "done"]


def test_a_new_reference_is_measured_without_segmenting_again(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    run(path, tmp_path / "out")
    before = (tmp_path / "out/masks/study_00.nii.gz").stat().st_mtime_ns
    save(tmp_path / "labels/study_00.nii.gz", np.zeros((20, 22, 18), np.uint8))
    assert states(run(path, tmp_path / "out")) == ["kept", "kept"]
    assert (tmp_path / "out/masks/study_00.nii.gz").stat().st_mtime_ns == before
    dice = [row for row in rows(tmp_path / "out/metrics.csv") if row["metric"] == "dice"]
    assert [float(row["value"]) for row in dice] == [0.0, 1.0]


def test_a_failed_study_leaves_no_mask_of_an_earlier_run(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    run(path, tmp_path / "out")
    (tmp_path / "images/study_00.nii.gz").write_bytes(b"")
    assert states(run(path, tmp_path / "out")) == ["failed"]
    assert not (tmp_path / "out/masks/study_00.nii.gz").exists()


def test_a_wrong_reference_costs_no_finished_mask(tmp_path: Path) -> None:
    path, output = ball_studies(tmp_path, 2), tmp_path / "out"
    run(path, output)
    before = everything(output / "masks")
    right = (tmp_path / "labels/study_00.nii.gz").read_bytes()
    save(tmp_path / "labels/study_00.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert states(run(path, output)) == ["failed", "kept"]
    assert everything(output / "masks") == before
    (tmp_path / "labels/study_00.nii.gz").write_bytes(right)
    assert states(run(path, output)) == ["kept", "kept"]


@pytest.mark.parametrize("fault", ["the reference", "the scan"])
def test_a_failed_study_leaves_nothing_in_any_form(tmp_path: Path, fault: str) -> None:
    asked = ["instances={masks: true}", "output.formats=[nifti, seg_nrrd, stl, itksnap, bids]"]
    pipeline = load_pipeline(ball_studies(tmp_path, 2), asked)
    output = tmp_path / "out"
    if fault == "the scan":
        predict(pipeline.writing_to(output))
        (tmp_path / "images/study_00.nii.gz").write_bytes(b"")
    else:
        save(tmp_path / "labels/study_00.nii.gz", np.zeros((3, 4, 5), np.uint8))
    other = "kept" if fault == "the scan" else "done"
    assert states(predict(pipeline.writing_to(output))) == ["failed", other]
    files = [str(p.relative_to(output)) for p in output.rglob("*") if p.is_file()]
    mine = {name for name in files if "study_00" in name or "study00" in name}
    assert mine == {"studies/study_00.json"}
    assert "itksnap/labels.txt" in files
    assert "derivatives/medseg/dataset_description.json" in files


def test_a_map_of_instances_that_is_gone_is_made_again(tmp_path: Path) -> None:
    pipeline = load_pipeline(ball_studies(tmp_path, 2), ["instances={masks: true}"])
    pipeline = pipeline.writing_to(tmp_path / "out")
    predict(pipeline)
    path = tmp_path / "out/instances/study_01.nii.gz"
    numbers = np.asarray(nib.load(path).dataobj)
    path.unlink()
    assert states(predict(pipeline)) == ["kept", "kept"]
    assert np.array_equal(np.asarray(nib.load(path).dataobj), numbers)
    calm = everything(tmp_path / "out")
    assert states(predict(pipeline)) == ["kept", "kept"]
    assert everything(tmp_path / "out") == calm


def test_a_run_that_is_stopped_still_tells_of_all_that_was_done(tmp_path: Path) -> None:
    path, output = ball_studies(tmp_path, 4), tmp_path / "out"
    run(path, output)
    before = (output / "volumes.csv").read_bytes(), (output / "metrics.csv").read_bytes()
    said: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, StudyDone):
            raise KeyboardInterrupt
        said.append(str(event))

    with pytest.raises(KeyboardInterrupt):
        predict(replace(load_pipeline(path), output=output), watch=stop)
    assert any("stopped: 4 done, 0 failed, 0 left" in one for one in said)
    assert ((output / "volumes.csv").read_bytes(), (output / "metrics.csv").read_bytes()) == before


def test_a_plan_touches_nothing_and_tells_what_is_left(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    pipeline = replace(load_pipeline(path), output=tmp_path / "out")
    assert plan(pipeline).todo == {"study_00": True, "study_01": True}
    assert not (tmp_path / "out").exists()
    predict(pipeline)
    assert plan(pipeline).todo == {"study_00": False, "study_01": False}
    assert plan(pipeline, overwrite=True).todo == {"study_00": True, "study_01": True}


def test_two_runs_cannot_write_into_one_folder(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    with held(tmp_path / "out"), pytest.raises(OutputError, match="E_LOCKED") as error:
        run(path, tmp_path / "out")
    assert str(os.getpid()) in str(error.value)


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    path = ball_studies(tmp_path, 1)
    with pytest.raises(OutputError, match=r"E_PERMISSION.*takes no locks"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out/masks").exists()


def test_two_studies_that_would_be_one_file_are_said_before_any_work(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    image = tmp_path / "images/study_00.nii.gz"
    image.rename(image.with_name("case_1.nii.gz"))
    shutil.copy(image.with_name("case_1.nii.gz"), image.with_name("case1.nii.gz"))
    path.write_text(path.read_text().replace(", reference: labels", ""))
    assert states(run(path, tmp_path / "apart")) == ["done", "done"]
    path.write_text(path.read_text() + "output: {formats: [nifti, bids]}\n")
    with pytest.raises(InputError, match="'case1' and 'case_1' would both be written as sub-case1"):
        predict(load_pipeline(path).writing_to(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_no_input_is_said_before_any_work(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    pipeline = load_pipeline(path)
    nowhere = replace(pipeline, input=replace(pipeline.input, path=None))
    with pytest.raises(InputError, match="give --input"):
        predict(nowhere)


def test_a_folder_that_cannot_be_made_is_said_before_any_work(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    (tmp_path / "out").write_text("a file stands here")
    with pytest.raises(OutputError, match="E_PERMISSION"):
        run(path, tmp_path / "out")


def test_events_tell_how_each_study_ended(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    (tmp_path / "images/study_01.nii.gz").write_bytes(b"")
    heard: list[Event] = []
    run(path, tmp_path / "out", watch=heard.append)
    ends = [(event.name, event.state) for event in heard if isinstance(event, StudyDone)]
    assert ends == [("study_00", "done"), ("study_01", "failed")]


def test_an_interrupted_run_leaves_tables_of_what_was_done(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 3)

    def stop(event: Event) -> None:
        if isinstance(event, StudyDone) and event.name == "study_01":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out", watch=stop)
    assert {row["study"] for row in rows(tmp_path / "out/volumes.csv")} == {"study_00", "study_01"}
    assert states(run(path, tmp_path / "out")) == ["kept", "kept", "done"]


def test_a_full_disk_stops_the_run_and_keeps_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ball_studies(tmp_path, 3)
    written = iter(range(10))
    from medseg.run import job

    def write(where: Path, *rest: object) -> str:
        if next(written):
            raise OutputError("E_DISK_FULL", "is full", where)
        return write_mask(where, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "write_mask", write)
    with pytest.raises(OutputError, match="E_DISK_FULL"):
        run(path, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/masks").glob("*.nii.gz")] == ["study_00.nii.gz"]
    monkeypatch.undo()
    assert states(run(path, tmp_path / "out")) == ["kept", "done", "done"]


def test_a_site_cannot_change_a_mask(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    run(path, tmp_path / "out")
    import torch

    threads = torch.get_num_threads()
    try:
        run(path, tmp_path / "other", site=Site(device="cpu", threads=1))
    finally:
        torch.set_num_threads(threads)
    assert everything(tmp_path / "out") == everything(tmp_path / "other")


@pytest.mark.parametrize("limit", [{"memory_gib": 1e-6}, {"voxels": 10}])
@pytest.mark.parametrize("by", ["site", "input"])
def test_a_scan_beyond_a_limit_of_site_or_pipeline_is_refused_by_name(
    tmp_path: Path, by: str, limit: dict[str, Any]
) -> None:
    from medseg.pipeline import Limits

    pipeline, site = load_pipeline(ball_studies(tmp_path, 1)), Site()
    if by == "site":
        site = Site(limits=Limits(**limit))
    else:
        pipeline = replace(pipeline, input=replace(pipeline.input, **limit))
    summary = predict(pipeline.writing_to(tmp_path / "out"), site)
    assert [outcome.error.code for outcome in summary.failures if outcome.error] == ["E_TOO_LARGE"]


def test_every_frame_of_a_series_is_segmented_on_request(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    still = np.asarray(nib.load(tmp_path / "images/study_00.nii.gz").dataobj)
    save(tmp_path / "images/study_00.nii.gz", np.stack([still, np.zeros_like(still)], -1))
    (tmp_path / "labels/study_00.nii.gz").unlink()
    (tmp_path / "labels").rmdir()
    path.write_text(path.read_text().replace(", reference: labels", ""))
    assert states(run(path, tmp_path / "out")) == ["failed"]
    path.write_text(path.read_text().replace("path: images", "path: images, frames: each"))
    assert states(run(path, tmp_path / "out")) == ["done"]
    mask = nib.load(tmp_path / "out/masks/study_00.nii.gz")
    assert mask.shape == (20, 22, 18, 2)
    assert np.asarray(mask.dataobj)[..., 0].any()
    assert not np.asarray(mask.dataobj)[..., 1].any()
    table = rows(tmp_path / "out/volumes.csv")
    assert [row["frame"] for row in table] == ["0", "1"]


@dataclass(frozen=True)
class _Careless(Step):
    def __call__(self, volume: object) -> object:
        del volume
        raise ZeroDivisionError("a bug")


def test_a_bug_flies(tmp_path: Path) -> None:
    pipeline: Pipeline = load_pipeline(ball_studies(tmp_path, 1))
    buggy = replace(pipeline, preprocess=(_Careless(),), output=tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        predict(buggy)


def test_lesions_of_a_run_have_lines_and_masks_of_their_own(tmp_path: Path) -> None:
    pipeline = load_pipeline(ball_studies(tmp_path, 2), ["instances={masks: true}"])
    output = tmp_path / "out"
    predict(replace(pipeline, output=output))
    table = rows(output / "instances.csv")
    assert [(r["study"], r["mask"], r["instance"], r["found"]) for r in table] == [
        (f"study_0{number}", mask, "1", "yes")
        for number in range(2)
        for mask in ("prediction", "reference")
    ]
    volumes = rows(output / "volumes.csv")
    assert float(table[0]["volume_ml"]) == pytest.approx(float(volumes[0]["volume_ml"]))
    diameter = 2 * (float(table[0]["volume_ml"]) * 3000 / 4 / np.pi) ** (1 / 3)
    assert float(table[0]["longest_mm"]) == pytest.approx(diameter, rel=0.15)
    numbers = nib.load(output / "instances/study_00.nii.gz")
    assert set(np.unique(np.asarray(numbers.dataobj))) == {0, 1}


def test_what_is_asked_of_kept_masks_anew_is_said_of_them(tmp_path: Path) -> None:
    path, output = ball_studies(tmp_path, 1), tmp_path / "out"
    run(path, output)
    assert not (output / "instances.csv").exists()
    again = predict(replace(load_pipeline(path, ["instances={}"]), output=output))
    assert [outcome.state for outcome in again.outcomes] == ["kept"]
    assert len(rows(output / "instances.csv")) == 2


def test_odd_masks_are_flagged_without_a_reference(tmp_path: Path) -> None:
    pipeline = load_pipeline(ball_studies(tmp_path, 1), ["quality={volumes_ml: {ball: [0, 0.1]}}"])
    where = replace(pipeline.input, reference=None)
    predict(replace(pipeline, input=where, output=tmp_path / "out"))
    record = json.loads((tmp_path / "out/studies/study_00.json").read_text())
    assert [one["code"] for one in record["warnings"]] == ["W_VOLUME"]
