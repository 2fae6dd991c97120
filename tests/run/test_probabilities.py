"""Probabilities in a run: how sure, rightly or not, and networks that disagree."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from support.asking import Pointwise
from support.runs import states
from support.studies import ball, save

from medseg.image import Label, Labels
from medseg.inference import SlidingWindow
from medseg.metrics import Dice, Instances, Probabilities, Quality
from medseg.metrics.calibration import brier, reliability
from medseg.models.weights import weights_bytes
from medseg.pipeline import Pipeline
from medseg.pipeline.parts import Input
from medseg.postprocess import POSTPROCESS
from medseg.preprocess import PREPROCESS
from medseg.run.predict import RunSummary, predict

BALL = Labels((Label("ball", (1,)),))


def network(folder: Path, weight: float, bias: float) -> SlidingWindow:
    """Logit of the ball less that of the background: weight x intensity + bias."""
    module = Pointwise()(1, 2)
    state = module.state_dict()
    state["weight"] = state["weight"] * 0
    state["weight"][1] = weight
    state["bias"] = state["bias"] * 0
    state["bias"][1] = bias
    path = folder / f"w_{weight}_{bias}.safetensors"
    path.write_bytes(weights_bytes(state))
    return SlidingWindow(model=Pointwise(), weights=path, window=(16, 16, 16))


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    for number in range(2):
        image, mask = ball(number)
        save(tmp_path / "images" / f"study_{number}.nii.gz", image)
        save(tmp_path / "labels" / f"study_{number}.nii.gz", mask)
    return Pipeline(
        name="sure",
        labels=BALL,
        input=Input(path=tmp_path / "images", reference=tmp_path / "labels"),
        inference=(network(tmp_path, 0.05, -2.5),),
        metrics=(Dice(),),
        probabilities=Probabilities(margin_mm=None),
        output=tmp_path / "out",
    )


def records(summary: RunSummary) -> list[dict[str, Any]]:
    folder = summary.output / "studies"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def by_the_book(folder: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The ball's probability, and its reference."""
    image = np.asarray(nib.load(folder / f"images/study_{number}.nii.gz").dataobj, float)
    truth = np.asarray(nib.load(folder / f"labels/study_{number}.nii.gz").dataobj)
    return 1 / (1 + np.exp(-(0.05 * image - 2.5))), truth


def of(record: dict[str, Any], metric: str) -> float:
    (found,) = (one["value"] for one in record["metrics"] if one["metric"] == metric)
    return float(found)


def test_a_run_says_how_sure_it_was_and_how_rightly(pipeline: Pipeline, tmp_path: Path) -> None:
    summary = predict(pipeline)
    counts = []
    for number, record in enumerate(records(summary)):
        said, truth = by_the_book(tmp_path, number)
        assert record["confidence"] == [{"ball": pytest.approx(said[said > 0.5].mean(), abs=1e-4)}]
        assert of(record, "ece") == pytest.approx(reliability(said, truth).ece, abs=1e-4)
        assert of(record, "brier") == pytest.approx(brier(said, truth), abs=1e-5)
        counts.append(record["calibration"]["ball"]["count"])
    whole = json.loads((tmp_path / "out/calibration.json").read_text())["ball"]
    assert whole["voxels"] == np.sum(counts) == 2 * truth.size
    both = [by_the_book(tmp_path, number) for number in range(2)]
    together = [np.stack(parts) for parts in zip(*both, strict=True)]
    assert whole["ece"] == pytest.approx(reliability(*together).ece, abs=1e-4)
    with (tmp_path / "out/calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["voxels"]) for row in rows) == whole["voxels"]
    metrics = json.loads((tmp_path / "out/statistics.json").read_text())["metrics"]["ball"]
    assert metrics["ece"]["n"] == 2


def test_only_the_box_around_a_label_counts(pipeline: Pipeline, tmp_path: Path) -> None:
    asked = replace(pipeline, probabilities=Probabilities(margin_mm=3.0))
    record = records(predict(asked))[0]
    said, truth = by_the_book(tmp_path, 0)
    either = np.argwhere((truth > 0) | (said > 0.5))
    around = np.array([2, 2, 2])
    low = np.maximum(either.min(0) - around, 0)
    high = np.minimum(either.max(0) + 1 + around, truth.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    assert of(record, "brier") == pytest.approx(brier(said[box], truth[box]), abs=1e-5)


def test_voxels_to_ignore_are_no_forecasts(pipeline: Pipeline, tmp_path: Path) -> None:
    said, truth = by_the_book(tmp_path, 0)
    marked = np.where(np.indices(truth.shape)[0] < 10, 9, truth).astype(np.uint8)
    save(tmp_path / "labels/study_0.nii.gz", marked)
    record = records(predict(replace(pipeline, labels=Labels(BALL.entries, ignore=9))))[0]
    kept = marked != 9
    assert of(record, "brier") == pytest.approx(brier(said[kept], marked[kept]), abs=1e-5)
    assert sum(record["calibration"]["ball"]["count"]) == kept.sum()


def test_nothing_is_kept_where_nobody_asks(pipeline: Pipeline) -> None:
    (record, _) = records(predict(replace(pipeline, probabilities=None)))
    assert not {"confidence", "calibration", "networks_agree"} & record.keys()
    assert {one["metric"] for one in record["metrics"]} == {"dice"}


def test_probabilities_change_no_mask(pipeline: Pipeline, tmp_path: Path) -> None:
    spaced = PREPROCESS["spacing"](pixdim=(2.1, 1.7, 3.0))
    asked = replace(pipeline, preprocess=(spaced,))
    kept = records(predict(asked))
    plain = replace(asked, probabilities=None, output=tmp_path / "plain")
    bare = records(predict(plain))
    assert [r["mask"]["sha256"] for r in kept] == [r["mask"]["sha256"] for r in bare]
    assert [r["pipeline"] for r in kept] == [r["pipeline"] for r in bare]


def test_each_instance_has_its_mean_probability(pipeline: Pipeline, tmp_path: Path) -> None:
    largest = POSTPROCESS["keep_largest"]()
    predict(replace(pipeline, instances=Instances(), postprocess=(largest,)))
    with (tmp_path / "out/instances.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["mask"] == "prediction"]
    for number, row in enumerate(rows):
        said, _ = by_the_book(tmp_path, number)
        mask = np.asarray(nib.load(tmp_path / f"out/masks/study_{number}.nii.gz").dataobj)
        assert float(row["mean_confidence"]) == pytest.approx(said[mask > 0].mean(), abs=1e-4)
    assert len(rows) == 2


def test_an_entropy_map_lies_on_the_scan(pipeline: Pipeline, tmp_path: Path) -> None:
    predict(replace(pipeline, probabilities=Probabilities(entropy=True)))
    found = nib.load(tmp_path / "out/entropy/study_0.nii.gz")
    scan = nib.load(tmp_path / "images/study_0.nii.gz")
    said, _ = by_the_book(tmp_path, 0)
    bits = -(said * np.log2(said) + (1 - said) * np.log2(1 - said))
    assert np.array_equal(found.affine, scan.affine)
    np.testing.assert_allclose(found.get_fdata(), bits, atol=0.5 / 255 + 1e-4)


def test_an_entropy_map_that_is_gone_is_made_again(pipeline: Pipeline, tmp_path: Path) -> None:
    doubting = replace(pipeline, probabilities=Probabilities(entropy=True))
    predict(doubting)
    path = tmp_path / "out/entropy/study_1.nii.gz"
    before = path.read_bytes()
    path.unlink()
    assert states(predict(doubting)) == ["kept", "done"]
    assert path.read_bytes() == before


def test_unsure_labels_are_flagged(pipeline: Pipeline) -> None:
    codes = [w["code"] for w in records(predict(pipeline))[0]["warnings"]]
    assert "W_CONFIDENCE" not in codes
    strict = replace(pipeline, quality=Quality(confidence=0.99))
    record = records(predict(strict, overwrite=True))[0]
    assert "W_CONFIDENCE" in [one["code"] for one in record["warnings"]]


def test_networks_that_disagree_are_flagged(pipeline: Pipeline, tmp_path: Path) -> None:
    alike = (network(tmp_path, 0.05, -2.5), network(tmp_path, 0.05, -2.6))
    other = (network(tmp_path, 0.05, -2.5), network(tmp_path, 0.05, -6.0))
    said = {}
    for name, steps in (("alike", alike), ("other", other)):
        asked = replace(pipeline, inference=steps, probabilities=None, output=tmp_path / name)
        record = records(predict(asked))[0]
        said[name] = record["networks_agree"][0]["ball"]
        flagged = "W_DISAGREEMENT" in [one["code"] for one in record["warnings"]]
        assert flagged == (name == "other")
    assert said["alike"] > 0.95
    assert said["other"] < 0.5


def test_what_cannot_be_said_again_is_done_again(pipeline: Pipeline, tmp_path: Path) -> None:
    plain = replace(pipeline, probabilities=None)
    assert states(predict(plain)) == ["done", "done"]
    assert states(predict(pipeline)) == ["done", "done"]
    assert states(predict(pipeline)) == ["kept", "kept"]
    _, mask = ball(5)
    save(tmp_path / "labels/study_0.nii.gz", mask)
    assert states(predict(pipeline)) == ["done", "kept"]
    assert states(predict(plain)) == ["kept", "kept"]
    assert "confidence" not in records(predict(plain))[0]


def test_a_label_that_is_nowhere_has_no_calibration(pipeline: Pipeline, tmp_path: Path) -> None:
    nothing = np.zeros((20, 22, 18), np.uint8)
    save(tmp_path / "labels/study_0.nii.gz", nothing)
    asked = replace(pipeline, inference=(network(tmp_path, 0.0, -9.0),))
    record = records(predict(asked))[0]
    assert record["confidence"] == [{"ball": None}]
    reasons = {one["metric"]: one["reason"] for one in record["metrics"]}
    assert reasons == dict.fromkeys(("dice", "ece", "brier"), "both_empty")


def test_patients_of_a_manifest_are_drawn_together(pipeline: Pipeline, tmp_path: Path) -> None:
    table = tmp_path / "studies.csv"
    lines = ["study,image,reference,patient"]
    lines += [f"s{n},images/study_{n}.nii.gz,labels/study_{n}.nii.gz,anna" for n in range(2)]
    table.write_text("\n".join(lines) + "\n")
    predict(replace(pipeline, input=Input(path=table)))
    said = json.loads((tmp_path / "out/statistics.json").read_text())["metrics"]["ball"]["dice"]
    assert (said["n"], said["patients"], said["low"]) == (2, 1, None)
