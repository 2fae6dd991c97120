"""Every fold in turn: each study held out once, and one folder that holds all networks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.studies import ball_studies

from medseg.cli import main
from medseg.errors import InputError
from medseg.pipeline import Within, load_pipeline
from medseg.run.crossvalidation import train_folds
from medseg.run.events import EpochDone, Event, StageStarted
from medseg.run.predict import predict

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
preprocess: [{orientation: {axcodes: RAS}}, normalize_intensity]
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: batch}
      window: [16, 16, 16]
training:
  patch: [16, 16, 16]
  batches: 10
  max_epochs: 2
  learning_rate: 1e-2
  precision: float32
  cache: disk
  fold_count: 2
  validate: 1
"""


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture of the history, which takes longer than an epoch here."""
    monkeypatch.setattr("medseg.run.model_folder.find_spec", lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ball_studies(tmp_path, 4)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def test_all_folds_are_trained_measured_and_averaged(folder: Path) -> None:
    model = folder / "model"
    heard: list[Event] = []
    found = train_folds(load_pipeline(folder / "recipe.yaml"), model, watch=heard.append)
    held = [name for fold in found.folds.values() for name in fold.split.held_out]
    assert sorted(held) == [f"study_0{n}" for n in range(4)]
    with (model / "cross_validation.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "dice"]
    assert sorted(row["study"] for row in rows) == sorted(held)
    dice = found.pooled["ball"]["dice"]
    values = [float(row["value"]) for row in rows]
    assert dice["mean"] == pytest.approx(np.mean(values))
    assert dice["low"] <= dice["mean"] <= dice["high"]
    assert json.loads((model / "cross_validation.json").read_text())["pooled"]["ball"]["dice"]
    # Both folds share one cache and one audit.
    assert (model / "audit.json").exists()
    assert len(list((model / "cache").glob("*.json"))) == 4

    told = json.loads((model / "cross_validation.json").read_text())
    assert set(told["folds"]) == {"0", "1"}
    assert all(fold["ball"]["dice"]["n"] == 2 for fold in told["folds"].values())
    page = (model / "card.md").read_text()
    assert f"{dice['mean']:.4f}" in page
    assert "not measured" in page

    ensemble = load_pipeline(model)
    assert ensemble.calibration.temperature == found.temperature
    assert told["calibration"]["nll"] <= told["calibration"]["nll_without"]
    assert ensemble.postprocess == found.chosen.steps
    assert len(ensemble.inference) == 2
    cards = [json.loads((model / f"fold_{n}/card.json").read_text()) for n in range(2)]
    ranges = [card["volumes_ml"]["ball"] for card in cards]
    widest = (min(low for low, _ in ranges), max(high for _, high in ranges))
    assert ensemble.quality.volumes_ml == {"ball": widest}
    assert json.loads((model / "card.json").read_text())["volumes_ml"] == {"ball": list(widest)}
    where = replace(ensemble.input, path=folder / "images", reference=folder / "labels")
    summary = predict(replace(ensemble, input=where, output=folder / "out"))
    assert not summary.failures
    mean = summary.summary["metrics"]["ball"]["dice"]["mean"]
    assert mean > 0.5

    again: list[Event] = []
    train_folds(load_pipeline(folder / "recipe.yaml"), model, watch=again.append)
    assert not [event for event in again if isinstance(event, EpochDone)]


def test_a_fold_that_cannot_be_is_told_before_the_first_is_trained(folder: Path) -> None:
    found = load_pipeline(folder / "recipe.yaml")
    assert found.training is not None
    (folder / "folds.json").write_text(
        json.dumps({"0": ["study_00"], "1": ["study_01"], "2": ["no"]})
    )
    for more in ({"fold_count": 5}, {"folds": folder / "folds.json"}):
        heard: list[Event] = []
        asked = replace(found, training=replace(found.training, **more))
        with pytest.raises(InputError, match="holds 0 of these studies out"):
            train_folds(asked, folder / "model", watch=heard.append)
        assert not any(isinstance(event, EpochDone) for event in heard)
        # The audit, of which the first takes its time, is heard.
        assert any(isinstance(event, StageStarted) for event in heard)


def cascade(folder: Path, **training: Any) -> tuple[Path, Path]:
    """A first stage of all folds, and a second that crops to what it finds."""
    found = load_pipeline(folder / "recipe.yaml")
    assert found.training is not None
    recipe = replace(found.training, max_epochs=1, batches=2)
    train_folds(replace(found, training=recipe), folder / "first")
    inside = Within(folder / "first", margin_mm=100)
    second = replace(found, within=inside, training=replace(recipe, **training))
    train_folds(second, folder / "second")
    return folder / "first", folder / "second"


def test_a_first_stage_has_not_seen_what_the_second_holds_out(folder: Path) -> None:
    first, second = cascade(folder)
    for fold in ("fold_0", "fold_1"):
        within = load_pipeline(second / fold).within
        assert within is not None
        assert within.pipeline.resolve() == (first / fold).resolve()
        assert "first stage" not in (second / fold / "card.md").read_text()
    within = load_pipeline(second).within
    assert within is not None
    assert within.pipeline.resolve() == first.resolve()
    assert "first stage" not in (second / "card.md").read_text()


def test_a_first_stage_that_may_know_what_is_held_out_is_told(folder: Path) -> None:
    first, second = cascade(folder, seed=7, patience=3)
    assert load_pipeline(second / "fold_0").within.pipeline.resolve() == first  # type: ignore[union-attr]
    for card in (second / "card.md", second / "fold_0/card.md"):
        told = card.read_text()
        assert "The first stage 'ball' may have learnt from these studies" in told
        assert "Patience kept the weights that did best on some of these studies" in told


def test_the_command_tells_what_all_folds_found(folder: Path) -> None:
    words = ["train", str(folder / "recipe.yaml"), "--output", str(folder / "model"),
             "--fold", "all", "--set", "training.max_epochs=1",
             "--set", "training.batches=1"]  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    assert "2 folds, one model" in result.stdout
    assert "fold 1, 2 of 2" in result.stderr
