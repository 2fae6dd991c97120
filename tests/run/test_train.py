"""``medseg train``: a model folder that ``medseg run`` takes, and trainings that go on."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from support.studies import BALL, ball_studies, save

from medseg.errors import InputError, ModelError, PipelineError
from medseg.image import Labels
from medseg.inference import SlidingWindow, Threshold
from medseg.inference.engine import filled
from medseg.pipeline import Pipeline, Previous, Site, load_pipeline
from medseg.run import model_folder
from medseg.run.cache import Cache
from medseg.run.events import EpochDone, Event, Note
from medseg.run.folds import Split
from medseg.run.model_folder import ModelFolder, flagging
from medseg.run.predict import predict
from medseg.run.train import train
from medseg.training.history import Epoch

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
preprocess:
  - orientation: {axcodes: RAS}
  - normalize_intensity
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: batch}
      window: [16, 16, 16]
training:
  patch: [16, 16, 16]
  batch: 2
  batches: 8
  max_epochs: 4
  learning_rate: 1e-2
  precision: float32
  validate: 2
  validate_minutes: 0.0001
  augmentation: [{rand_flip: {prob: 0.5}}, {rand_gaussian_noise: {prob: 0.5}}]
"""
SLICES = RECIPE.replace("sliding_window", "slices").replace("[16, 16, 16]", "[16, 16]")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    ball_studies(tmp_path, 6)
    return tmp_path


def pipeline(folder: Path, text: str = RECIPE) -> Pipeline:
    path = folder / "recipe.yaml"
    path.write_text(
        text.replace("norm: batch", "norm: batch, spatial_dims: 2") if "slices" in text else text
    )
    return load_pipeline(path)


def ml_of(path: Path) -> float:
    mask = nib.load(path)
    return float(np.asarray(mask.dataobj).sum() * np.prod(mask.header.get_zooms()) / 1000)


def test_volumes_outside_what_training_saw_are_flagged(studies: Path) -> None:
    train(pipeline(studies, RECIPE.replace("max_epochs: 4", "max_epochs: 1")), studies / "model")
    # Any decision will do to see what the folder flags.
    trained = load_pipeline(studies / "model")
    asked = replace(trained, preprocess=(), inference=(Threshold(minimum=50),))
    small = np.zeros((20, 22, 18), np.float32)
    small[9:11, 9:11, 9:11] = 100
    save(studies / "images/small.nii.gz", small)
    scans = replace(trained.input, path=studies / "images")
    done = predict(replace(asked, input=scans, output=studies / "out"))
    flags = {o.name: [w["code"] for w in o.record["warnings"]] for o in done.outcomes}
    assert [name for name, codes in flags.items() if "W_VOLUME" in codes] == ["small"]


def test_a_range_of_volumes_that_was_given_is_kept(studies: Path) -> None:
    given = pipeline(studies)
    mine = replace(given, quality=replace(given.quality, volumes_ml={"ball": (1.0, 2.0)}))
    assert flagging(mine, {"ball": (3.0, 4.0)}).quality.volumes_ml == {"ball": (1.0, 2.0)}
    assert flagging(given, {"ball": (3.0, 4.0)}).quality.volumes_ml == {"ball": (3.0, 4.0)}


@pytest.mark.parametrize("text", [RECIPE, SLICES], ids=["3D", "2D slices"])
def test_a_trained_folder_runs_on_what_was_held_out(studies: Path, text: str) -> None:
    model = studies / "model"
    result = train(pipeline(studies, text), model, fold="0")
    assert set(result.split.held_out).isdisjoint(result.split.trained_on)
    assert result.iterations == 32
    card = json.loads((model / "card.json").read_text())
    assert card["held_out"] == list(result.split.held_out)
    assert "medical device" in card["intended_use"]
    volumes = [ml_of(studies / "labels" / f"{name}.nii.gz") for name in result.split.trained_on]
    seen = [min(volumes), max(volumes)]
    assert card["volumes_ml"] == {"ball": pytest.approx(seen, abs=2e-4)}
    assert card["volumes_ml"]["ball"][0] <= seen[0] <= seen[1] <= card["volumes_ml"]["ball"][1]
    assert load_pipeline(model).quality.volumes_ml == {"ball": tuple(card["volumes_ml"]["ball"])}
    held_out = load_pipeline(model)
    where = replace(held_out.input, path=model / "held_out.csv")
    summary = predict(replace(held_out, input=where, output=studies / "out"))
    assert [outcome.name for outcome in summary.outcomes] == list(result.split.held_out)
    dice = [row for o in summary.outcomes for row in o.record["metrics"] if row["metric"] == "dice"]
    assert all(row["value"] > 0.6 for row in dice)
    # The last validation went through the same corridor, over the same studies.
    mean = sum(row["value"] for row in dice) / len(dice)
    assert result.dice["ball"] == pytest.approx(mean, abs=1e-6)


def test_history_has_a_row_an_epoch_and_a_picture(studies: Path) -> None:
    heard: list[Event] = []
    train(pipeline(studies), studies / "model", fold="1", watch=heard.append)
    with (studies / "model/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["dice_ball"]) > 0
    epochs = [event for event in heard if isinstance(event, EpochDone)]
    assert [epoch.spent for epoch in epochs] == [0.25, 0.5, 0.75, 1.0]
    assert (studies / "model/history.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_training_goes_on_to_the_same_weights(studies: Path) -> None:
    recipe = pipeline(studies)
    train(recipe, studies / "calm")

    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, studies / "stopped", watch=stop)
    assert not (studies / "stopped/card.json").exists()
    train(recipe, studies / "stopped")
    weights = "weights.safetensors"
    assert (studies / "stopped" / weights).read_bytes() == (studies / "calm" / weights).read_bytes()


def test_a_training_can_go_on_from_other_weights(studies: Path) -> None:
    recipe = pipeline(studies)
    assert recipe.training is not None
    train(recipe, studies / "first")
    weights = studies / "first/weights.safetensors"
    finer = replace(recipe.training, start=weights, max_epochs=1, learning_rate=1e-4)
    begun: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, EpochDone):
            begun.append(event.loss)

    train(recipe, studies / "anew", watch=hear)
    train(replace(recipe, training=finer), studies / "second", watch=hear)
    # The first epoch goes on about where the other training ended.
    assert begun[-1] < begun[1]
    assert begun[-1] == pytest.approx(begun[3], rel=0.2)
    card = json.loads((studies / "second/card.json").read_text())
    assert card["started_from_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert json.loads((studies / "first/card.json").read_text())["started_from_sha256"] is None


def test_weights_to_start_from_must_fit(studies: Path) -> None:
    recipe = pipeline(studies)
    assert recipe.training is not None
    wrong = replace(recipe.training, start=studies / "nowhere.safetensors")
    with pytest.raises(ModelError, match="E_CHECKPOINT"):
        train(replace(recipe, training=wrong), studies / "model")


def test_a_finished_training_is_not_done_again(studies: Path) -> None:
    recipe = pipeline(studies)
    first = train(recipe, studies / "model")
    before = (studies / "model/weights.safetensors").read_bytes()
    again = train(recipe, studies / "model")
    assert again.iterations == first.iterations
    assert (studies / "model/weights.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_not_taken_up(studies: Path) -> None:
    train(pipeline(studies), studies / "model")
    other = pipeline(studies, RECIPE.replace("1e-2", "1e-3"))
    with pytest.raises(ModelError, match="another recipe"):
        train(other, studies / "model")


def test_a_study_that_cannot_be_read_is_told_and_left_out(studies: Path) -> None:
    (studies / "images/study_02.nii.gz").write_bytes(b"")
    heard: list[Event] = []
    train(pipeline(studies), studies / "model", watch=heard.append)
    told = [event.text for event in heard if isinstance(event, Note)]
    assert any("study_02" in text and "E_EMPTY_FILE" in text for text in told)


def test_no_references_is_said_before_any_work(studies: Path) -> None:
    shutil.rmtree(studies / "labels")
    (studies / "labels").mkdir()
    with pytest.raises(InputError):
        train(pipeline(studies), studies / "model")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("training:", "training_:", "training"),
        ("  patch: [16, 16, 16]", "  patch: [16, 16]", "patch has 2 sides"),
    ],
)
def test_a_recipe_that_cannot_train_is_explained(
    studies: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(PipelineError) as error:
        train(pipeline(studies, RECIPE.replace(old, new)), studies / "model")
    complaints = " ".join(map(str, error.value.complaints))
    assert told in str(error.value) + complaints


def test_two_networks_cannot_be_trained_at_once(studies: Path) -> None:
    recipe = pipeline(studies)
    twice = replace(recipe, inference=recipe.inference * 2)
    with pytest.raises(PipelineError, match="2 networks"):
        train(twice, studies / "model")


def test_faults_are_told_before_training_and_their_studies_left_out(studies: Path) -> None:
    ball_studies(studies, 7)
    shutil.copy(studies / "images/study_00.nii.gz", studies / "images/study_05.nii.gz")
    (studies / "labels/study_06.nii.gz").unlink()
    heard: list[Event] = []
    result = train(pipeline(studies), studies / "model", watch=heard.append)
    told = [event.text for event in heard if isinstance(event, Note)]
    assert [text.split(":")[1].strip() for text in told if "left out" in text] == [
        "study_05", "study_06"
    ]  # fmt: skip
    assert result.split.trained_on == tuple(f"study_0{n}" for n in range(5))
    first = next(n for n, event in enumerate(heard) if isinstance(event, EpochDone))
    assert all(isinstance(e, EpochDone) is False for e in heard[:first])
    assert max(n for n, e in enumerate(heard) if isinstance(e, Note)) < first


def test_a_model_trained_on_a_chosen_device_runs_and_goes_on_on_any(studies: Path) -> None:
    text, model = RECIPE.replace("max_epochs: 4", "max_epochs: 1"), studies / "model"
    recipe = pipeline(studies, text)
    train(recipe, model, Site(device="cpu"))
    assert "device" not in (model / "pipeline.yaml").read_text()
    assert train(recipe, model).iterations == 8
    # An author's own choice is kept, and is no other recipe either.
    chosen = text.replace("      window:", "      device: cpu\n      window:")
    train(pipeline(studies, chosen), model)
    assert "device: cpu" in (model / "pipeline.yaml").read_text()


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:0"])
def test_checkpoints_of_earlier_versions_are_taken_up(tmp_path: Path, device: str) -> None:
    (tmp_path / "recipe.yaml").write_text(EARLIER)
    found = load_pipeline(tmp_path / "recipe.yaml")
    step = found.inference[0]
    assert isinstance(step, SlidingWindow)
    known = ModelFolder(tmp_path, found, step).digests(Split(("a", "b"), ("c",), ("c",)))
    assert {one[:12] for one in known} >= set(KEPT[device])
    assert known[0][:12] == KEPT["auto"][0]


EARLIER = """\
name: ball
labels: {ball: 1}
preprocess: [normalize_intensity]
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: batch}
      window: [16, 16, 16]
training: {patch: [16, 16, 16], batches: 8, max_epochs: 4, learning_rate: 1e-3, weight_decay: 1e-2}
"""
KEPT = {
    "auto": ("ca3dd9745909", "f869174ab588"),
    "cpu": ("b8916ebac2f2", "b18669d955d0"),
    "cuda:0": ("da8350a5cf96", "8a39c346b332"),
}
"""What version 071b8cf called this recipe, by the device that was chosen."""


def test_networks_of_past_validations_are_not_kept(studies: Path) -> None:
    result = train(pipeline(studies), studies / "model", fold="0")
    assert result.dice["ball"] is not None
    assert filled.cache_info().currsize == 0


def test_the_history_is_drawn_at_validations_and_at_the_end(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = model_folder.history_png

    def counted(epochs: Sequence[Epoch], labels: Labels) -> bytes:
        drawn.append(len(epochs))
        return draw(epochs, labels)

    monkeypatch.setattr(model_folder, "history_png", counted)
    train(pipeline(studies), studies / "plain")
    assert drawn == [4]
    drawn.clear()
    text = RECIPE.replace("validate_minutes: 0.0001", "validate_epochs: 2")
    train(pipeline(studies, text), studies / "model", fold="0")
    assert drawn == [2, 4]


@pytest.mark.parametrize("deterministic", [False, True])
def test_convolutions_are_timed_while_a_training_lasts(studies: Path, deterministic: bool) -> None:
    recipe = replace(pipeline(studies), deterministic=deterministic)
    before, during = torch.backends.cudnn.benchmark, list[bool]()

    def hear(event: Event) -> None:
        if isinstance(event, EpochDone):
            during.append(torch.backends.cudnn.benchmark)

    train(recipe, studies / "model", watch=hear)
    assert during == [not deterministic] * 4
    assert torch.backends.cudnn.benchmark == before


def test_a_network_that_is_shown_another_pipelines_mask_learns_from_it(studies: Path) -> None:
    text = RECIPE.replace("inference:", "previous: {pipeline: ball.yaml}\ninference:")
    recipe = pipeline(studies, text.replace("max_epochs: 4", "max_epochs: 2"))
    result = train(recipe, studies / "model", fold="0")
    assert result.dice["ball"] is not None
    held_out = load_pipeline(studies / "model")
    where = replace(held_out.input, path=studies / "model/held_out.csv")
    summary = predict(replace(held_out, input=where, output=studies / "out"))
    assert all(outcome.record["state"] == "done" for outcome in summary.outcomes)


def test_what_was_kept_with_another_first_mask_is_made_anew(studies: Path) -> None:
    plain = pipeline(studies)
    shown = replace(plain, previous=Previous(studies / "ball.yaml"))
    before = [Cache.of(one, studies).about for one in (plain, shown)]
    (studies / "ball.yaml").write_text(BALL.replace("minimum: 50", "minimum: 60"))
    after = [Cache.of(one, studies).about for one in (plain, shown)]
    assert before[0] == after[0]
    assert len({*before, *after}) == 3


def test_a_network_that_grows_is_not_shown_another_pipelines_mask(studies: Path) -> None:
    grows = RECIPE.replace("name: dynunet", "name: neat") + "  growth: {every: 1}\n"
    recipe = replace(pipeline(studies, grows), previous=Previous(studies / "ball.yaml"))
    with pytest.raises(PipelineError, match=r"training\.growth.*previous"):
        train(recipe, studies / "model", fold="0")
    assert not (studies / "model" / "audit.json").exists()
