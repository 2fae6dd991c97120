"""Trainings that are killed, stopped, extended or out of patience, and what becomes of them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from support.studies import ball_studies

from medseg.errors import PipelineError
from medseg.models.checkpoint import read_safetensors
from medseg.models.weights import load_weights
from medseg.pipeline import Pipeline, load_pipeline
from medseg.run import train as verb
from medseg.run.events import EpochDone, Event
from medseg.run.train import train
from medseg.training.growth import Growth
from medseg.training.learner import Learner

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
deterministic: true
preprocess:
  - orientation: {axcodes: RAS}
  - normalize_intensity
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: batch, dropout: 0.1}
      window: [16, 16, 16]
training:
  patch: [16, 16, 16]
  batch: 2
  batches: 6
  max_epochs: 6
  learning_rate: 1e-2
  precision: float32
  validate: 1
  validate_epochs: 3
  checkpoint_minutes: 0.0005
  augmentation: [{rand_flip: {prob: 0.5}}, {rand_gaussian_noise: {prob: 0.5}}]
"""
WEIGHTS = "weights.safetensors"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture of the history, which takes longer than an epoch here."""
    monkeypatch.setattr("medseg.run.model_folder.find_spec", lambda _: None)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    ball_studies(tmp_path, 5)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def recipe(folder: Path, **training: Any) -> Pipeline:
    found = load_pipeline(folder / "recipe.yaml")
    assert found.training is not None
    return replace(found, training=replace(found.training, **training))


def stopping(epoch: int, how: type[BaseException] = KeyboardInterrupt) -> Any:
    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == epoch:
            raise how

    return stop


def same(one: Path, other: Path) -> bool:
    return (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def by_itself(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script of tests/support in a process of its own."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "tests/support" / script), *map(str, words)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def disturbed(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    done = by_itself("killed.py", folder, kills, seed)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_killed_twice_a_training_ends_with_the_weights_of_an_undisturbed_one(
    studies: Path,
) -> None:
    (studies / "recipe.yaml").write_text(RECIPE.replace("max_epochs: 6", "max_epochs: 3"))
    found = disturbed(studies, 2, 1)
    assert len(found["iterations"]) == 2
    assert any(0 < at < 18 for at in found["iterations"])
    assert found["equal"]
    assert found["losses"]
    assert found["optimizer"]


@pytest.mark.slow
def test_killed_ten_times_a_training_ends_with_the_weights_of_an_undisturbed_one(
    studies: Path,
) -> None:
    text = RECIPE.replace("max_epochs: 6", "max_epochs: 40")
    (studies / "recipe.yaml").write_text(text.replace("validate_epochs: 3", "validate_epochs: 9"))
    found = disturbed(studies, 10, 2)
    assert len(found["iterations"]) == 10
    assert len({at for at in found["iterations"] if 0 < at < 240}) >= 5
    assert found["equal"]
    assert found["losses"]
    assert found["optimizer"]


def test_sigterm_in_the_middle_of_an_epoch_leaves_a_checkpoint_to_go_on_from(
    studies: Path,
) -> None:
    text = RECIPE.replace("checkpoint_minutes: 0.0005", "checkpoint_minutes: 60")
    (studies / "recipe.yaml").write_text(text)
    calm = recipe(studies)
    train(calm, studies / "calm", fold="0")
    ended = by_itself("struck.py", studies / "recipe.yaml", studies / "struck", 15)
    assert ended.returncode == 143, ended.stderr
    assert (studies / "struck/checkpoint.pt").exists()
    begun: list[Event] = []
    train(calm, studies / "struck", fold="0", watch=begun.append)
    assert same(studies / "calm", studies / "struck")
    # Step 15 was finished, not broken off, and nothing was done twice.
    assert [e.epoch for e in begun if isinstance(e, EpochDone)] == [3, 4, 5, 6]


def test_a_training_that_ended_goes_on_with_a_larger_budget(studies: Path) -> None:
    short = train(recipe(studies, max_epochs=2), studies / "model", fold="0")
    assert short.iterations == 12
    rates: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, EpochDone):
            rates.append(event.learning_rate)

    longer = train(recipe(studies, max_epochs=4), studies / "model", fold="0", watch=hear)
    assert longer.iterations == 24
    # The schedule is a share of the budget: half of it was spent, and the rate is as of there.
    assert len(rates) == 2
    assert 1e-2 * 0.1 < rates[0] < 1e-2 * 0.5
    assert load_pipeline(studies / "model").training.max_epochs == 4  # type: ignore[union-attr]
    assert json.loads((studies / "model/card.json").read_text())["iterations"] == 24


def test_patience_ends_a_training_and_keeps_the_best_weights(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = iter([0.2, 0.5, 0.4, 0.45, 0.9])
    kept: list[bytes] = []

    def measured(*_: Any) -> dict[str, float | None]:
        kept.append((studies / "model" / WEIGHTS).read_bytes())
        return {"ball": next(dice)}

    monkeypatch.setattr(verb, "dice_of", measured)
    patient = recipe(studies, max_epochs=6, validate_epochs=1, patience=2)
    found = train(patient, studies / "model", fold="0")
    assert found.iterations == 24
    assert found.dice == {"ball": 0.5}
    assert (studies / "model" / WEIGHTS).read_bytes() == kept[1]
    # It has ended, and stays so until it is given more.
    assert train(patient, studies / "model", fold="0").iterations == 24
    more = recipe(studies, max_epochs=5, validate_epochs=1, patience=2)
    assert train(more, studies / "model", fold="0").iterations == 30
    best = read_safetensors(studies / "model" / WEIGHTS)
    (studies / "fifth").write_bytes(kept[4])
    fifth = read_safetensors(studies / "fifth")
    assert all((best[key] == fifth[key]).all() for key in best)


def test_patience_wants_studies_to_be_decided_by(studies: Path) -> None:
    with pytest.raises(PipelineError, match="give a --fold"):
        train(recipe(studies, patience=2), studies / "model")
    with pytest.raises(ValueError, match=r"^patience is by validation"):
        recipe(studies, patience=2, validate=0)


def test_a_stop_during_validation_repeats_it_and_changes_nothing(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = recipe(studies)
    train(plain, studies / "calm", fold="0")
    dice = verb.dice_of

    def interrupted(*asked: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "dice_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(plain, studies / "stopped", fold="0")
    monkeypatch.setattr(verb, "dice_of", dice)
    train(plain, studies / "stopped", fold="0")
    assert same(studies / "calm", studies / "stopped")
    rows = [(studies / one / "history.csv").read_text().splitlines() for one in ("calm", "stopped")]
    # Minutes differ, of course.
    shown = [[row.split(",")[:1] + row.split(",")[2:] for row in one] for one in rows]
    assert shown[0] == shown[1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second, and a validation one more."""
    ticks = count()
    monkeypatch.setattr("medseg.training.loop.perf_counter", lambda: float(next(ticks)))


def in_the_middle(folder: Path, seconds: float, **training: Any) -> Pipeline:
    """A recipe whose budget ends within its first epoch."""
    more = {"batches": 100, "max_epochs": None, "max_minutes": seconds / 60, "validate_epochs": 5}
    return recipe(folder, **more | training)


def epochs(model: Path) -> list[dict[str, str]]:
    with (model / "history.csv").open() as file:
        return list(csv.DictReader(file))


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("clock")
def test_a_stop_during_the_last_validation_of_a_budget_of_minutes_repeats_it(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, model = in_the_middle(studies, 5), studies / "model"
    monkeypatch.setattr(verb, "dice_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(asked, model, fold="0")
    monkeypatch.setattr(verb, "dice_of", lambda *_: {"ball": 0.5})
    found = train(asked, model, fold="0")
    assert found.iterations == 5
    assert found.dice == {"ball": 0.5}
    assert json.loads((model / "card.json").read_text())["validation_dice"] == {"ball": 0.5}
    assert [(row["epoch"], row["dice_ball"]) for row in epochs(model)] == [("1", "0.5000")]


@pytest.mark.usefixtures("clock")
def test_a_training_that_ended_in_an_epoch_goes_on_in_its_row(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice, model, losses, step = iter([0.5, 0.4]), studies / "model", list[float](), Learner.step

    def told(self: Learner, *batch: Any) -> Any:
        losses.append(float(step(self, *batch)))
        return torch.tensor(losses[-1])

    monkeypatch.setattr(Learner, "step", told)
    monkeypatch.setattr(verb, "dice_of", lambda *_: {"ball": next(dice)})
    train(in_the_middle(studies, 5, patience=9), model, fold="0")
    found = train(in_the_middle(studies, 9, patience=9), model, fold="0")
    assert found.iterations == len(losses) == 8
    (row,) = epochs(model)
    assert (row["epoch"], row["dice_ball"]) == ("1", "0.4000")
    assert float(row["loss"]) == pytest.approx(sum(losses) / 8, abs=2e-5)
    # The weights that are kept are the best ones, and so is what is told of them.
    assert found.dice == {"ball": 0.5}


@pytest.mark.usefixtures("clock")
def test_a_growing_network_that_was_stopped_at_the_end_is_the_one_it_was(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RECIPE.replace("name: dynunet", "name: neat").replace(", dropout: 0.1", "")
    (studies / "recipe.yaml").write_text(text)
    grows = Growth(every=1, probe=9, plateau=None, batches=1, delta=-1.0)
    asked, model = in_the_middle(studies, 9, batches=2, growth=grows), studies / "model"
    asks = iter([lambda *_: {"ball": 0.5}, interrupted])
    monkeypatch.setattr(verb, "dice_of", lambda *_: next(asks)())
    with pytest.raises(KeyboardInterrupt):
        train(asked, model, fold="0")
    train(asked, model, fold="0")
    network = load_pipeline(model).inference[0].model  # type: ignore[attr-defined]
    assert load_weights(network(1, 2), model / WEIGHTS) == ()
