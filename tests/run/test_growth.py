"""Training a network that grows, end to end: kept or put back to the last bit."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.studies import ball_studies

from medseg.errors import PipelineError
from medseg.models.neat import NEAT
from medseg.models.weights import load_weights
from medseg.pipeline import Pipeline, load_pipeline
from medseg.run.events import EpochDone, Event, Note
from medseg.run.predict import predict
from medseg.run.train import train
from medseg.training import Training

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
preprocess:
  - orientation: {axcodes: RAS}
  - normalize_intensity
inference:
  - sliding_window:
      model: {name: neat, widths: [4, 4, 8], norm: batch}
      window: [16, 16, 16]
training:
  patch: [16, 16, 16]
  batch: 2
  batches: 2
  max_epochs: 6
  learning_rate: 1e-2
  precision: float32
  validate: 1
  validate_minutes: 100
  growth:
    every: 1
    plateau: null
    probe: 1
    batches: 1
    warm_up: 2
    until: 1
    delta: -1
"""
SLICES = RECIPE.replace("sliding_window", "slices").replace("[16, 16, 16]", "[16, 16]")
SLICES = SLICES.replace("norm: batch", "spatial_dims: 2")
WEIGHTS = "weights.safetensors"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture of the history, which takes longer than an epoch here."""
    monkeypatch.setattr("medseg.run.model_folder.find_spec", lambda _: None)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    ball_studies(tmp_path, 5)
    return tmp_path


def pipeline(folder: Path, text: str = RECIPE, **growth: Any) -> Pipeline:
    path = folder / "recipe.yaml"
    path.write_text(text)
    found = load_pipeline(path)
    assert found.training is not None
    assert found.training.growth is not None
    grown = replace(found.training.growth, **growth)
    return replace(found, training=replace(found.training, growth=grown))


def changed(pipeline: Pipeline, **training: Any) -> Pipeline:
    assert isinstance(pipeline.training, Training)
    return replace(pipeline, training=replace(pipeline.training, **training))


def rows(model: Path, name: str = "growth.csv") -> list[dict[str, str]]:
    with (model / name).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("text", [RECIPE, SLICES], ids=["3D", "2D slices"])
def test_a_grown_folder_is_rebuilt_from_its_pipeline_and_runs(studies: Path, text: str) -> None:
    model, heard = studies / "model", list[Event]()
    result = train(pipeline(studies, text), model, fold="0", watch=heard.append)
    said = rows(model)
    assert [row["accepted"] for row in said] == ["True"] * len(said)
    assert len(said) >= 3
    sizes = [int(row["parameters"]) for row in said]
    assert sizes == sorted(set(sizes))
    grown = load_pipeline(model)
    network = grown.inference[0].model  # type: ignore[attr-defined]
    assert isinstance(network, NEAT)
    assert network.parameters(1, 2) == sizes[-1]
    assert load_weights(network(1, 2), model / WEIGHTS) == ()
    card = json.loads((model / "card.json").read_text())
    assert NEAT.from_json(json.dumps(card["structure"])).explicit() == network.explicit()
    assert [row["where"] for row in card["growth"]] == [row["where"] for row in said]
    assert json.loads((model / "growth.json").read_text())["structure"] == card["structure"]
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert len([text for text in notes if text.endswith("kept")]) == len(said)
    where = replace(grown.input, path=model / "held_out.csv")
    summary = predict(replace(grown, input=where, output=studies / "out"))
    assert [one.name for one in summary.outcomes] == list(result.split.held_out)
    dice = summary.outcomes[0].record["metrics"][0]["value"]
    assert dice == pytest.approx(result.dice["ball"], abs=1e-6)


def test_growth_that_is_refused_leaves_not_a_trace(studies: Path) -> None:
    """Weights, average, optimiser and batches: all as if nothing had been tried."""
    hard = pipeline(studies, delta=2.0, refusals=4)
    calm, tried = studies / "calm", studies / "tried"
    train(changed(hard, growth=None, validate_minutes=1e-4), calm, fold="0")
    heard: list[Event] = []
    result = train(hard, tried, fold="0", watch=heard.append)
    assert [row["accepted"] for row in rows(tried)] == ["False"] * 4
    assert result.iterations == 12
    assert (tried / WEIGHTS).read_bytes() == (calm / WEIGHTS).read_bytes()
    before, after = (
        torch.load(folder / "checkpoint.pt", weights_only=True)["learner"]
        for folder in (calm, tried)
    )
    assert str(before) == str(after)
    losses = [[row["loss"] for row in rows(one, "history.csv")] for one in (calm, tried)]
    assert losses[0] == losses[1]
    assert len([event for event in heard if isinstance(event, EpochDone)]) == 6 + 4


def test_a_refused_move_is_not_tried_again_at_once(studies: Path) -> None:
    text = RECIPE.replace("[4, 4, 8]", "[4, 4]")
    hard = pipeline(studies, text, delta=2.0, refusals=3, operators=("level", "deepen"))
    train(hard, studies / "model", fold="0")
    tried = [(row["operator"], row["where"]) for row in rows(studies / "model")]
    assert tried[0] == ("level", "below 1")
    assert {one for one, _ in tried[1:]} == {"deepen"}
    assert len(set(tried)) == 3


def test_a_stopped_training_grows_on_to_the_same_weights(studies: Path) -> None:
    """Also where it was stopped while a grown network was on trial."""
    recipe = changed(pipeline(studies), max_epochs=4)
    train(recipe, studies / "calm", fold="0")
    for number in (1, 2):
        model, seen = studies / f"stopped_{number}", list[int]()

        def stop(event: Event, seen: list[int] = seen, number: int = number) -> None:
            if isinstance(event, EpochDone):
                seen.append(event.epoch)
                if len(seen) == number:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, model, fold="0", watch=stop)
        half = load_pipeline(model).inference[0].model  # type: ignore[attr-defined]
        load_weights(half(1, 2), model / WEIGHTS)
        train(recipe, model, fold="0")
        for name in (WEIGHTS, "growth.csv", "growth.json", "pipeline.yaml"):
            assert (model / name).read_bytes() == (studies / "calm" / name).read_bytes()


def test_growth_stays_within_its_budgets(studies: Path) -> None:
    free = pipeline(studies)
    train(free, studies / "free", fold="0")
    asked = [(int(row["parameters"]), float(row["gmacs"])) for row in rows(studies / "free")]
    most = asked[-1][0] - 1, asked[-1][1] * 0.8
    tight = pipeline(studies, max_parameters=most[0], max_gmacs=most[1])
    train(tight, studies / "tight", fold="0")
    for row in rows(studies / "tight"):
        assert int(row["parameters"]) <= most[0]
        assert float(row["gmacs"]) <= most[1]
    none = pipeline(studies, max_parameters=10)
    train(none, studies / "none", fold="0")
    assert not (studies / "none" / "growth.csv").exists()


def test_growth_waits_for_a_plateau_and_ends_with_its_share(studies: Path) -> None:
    steady = pipeline(studies, plateau=-2.0)
    train(steady, studies / "steady", fold="0")
    assert not (studies / "steady" / "growth.csv").exists()
    short = pipeline(studies, until=0.3)
    train(short, studies / "short", fold="0")
    assert [row["epoch"] for row in rows(studies / "short")] == ["1"]


def test_growth_without_a_network_that_can_or_studies_to_decide_by_is_refused(
    studies: Path,
) -> None:
    with pytest.raises(PipelineError, match="decided by validation"):
        train(pipeline(studies), studies / "model")
    other = RECIPE.replace("neat", "dynunet")
    with pytest.raises(PipelineError, match="'dynunet' cannot"):
        train(pipeline(studies, other), studies / "model", fold="0")


def test_the_seed_of_a_training_is_sized_for_its_patch(studies: Path) -> None:
    """16 voxels of 1.5, 1.5 and 2 mm are halved twice, and two widths of four are not used."""
    text = RECIPE.replace("[4, 4, 8]", "[4, 4, 8, 8]")
    train(pipeline(studies, text, delta=2.0, refusals=1), studies / "model", fold="0")
    network = load_pipeline(studies / "model").inference[0].model  # type: ignore[attr-defined]
    assert network.widths == (4, 4, 8)
    assert network.strides == ((2, 2, 2), (2, 2, 2))
