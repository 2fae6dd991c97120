"""``medseg train --fold all``: every fold in turn, what all of them found, and their ensemble."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from medseg.errors import PipelineError
from medseg.inference import Slices, SlidingWindow
from medseg.io import sha256_of, write_atomically
from medseg.io.layouts_files import id_of
from medseg.pipeline import Pipeline, Site, dump_pipeline, load_pipeline
from medseg.run.cases import sound
from medseg.run.events import Note, Watch, unheard
from medseg.run.folder import held
from medseg.run.folds import folds_of, roll
from medseg.run.model_folder import INTENDED_USE, WEIGHTS, ModelFolder, flagging
from medseg.run.predict import predict
from medseg.run.records import versions
from medseg.run.site import limits_of
from medseg.run.tables import csv_bytes
from medseg.run.train import Options, TrainSummary, train
from medseg.run.validation import trainable
from medseg.step import Step
from medseg.training.team import team_size

_DRAWS = 2000


@dataclass(frozen=True)
class FoldsSummary:
    """The ensemble's folder, each fold's training, and what was measured on held-out studies.

    ``pooled`` is by label and metric: mean, its bootstrap interval, and how many studies.
    """

    model: Path
    folds: Mapping[str, TrainSummary]
    pooled: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class _Row:
    fold: str
    study: str
    label: str
    metric: str
    value: float | None
    reason: str | None


def train_folds(
    pipeline: Pipeline,
    model: Path,
    site: Site | None = None,
    *,
    options: Options | None = None,
    watch: Watch = unheard,
) -> FoldsSummary:
    """Train a model for every fold, segment what each held out, and write the ensemble.

    ``model`` becomes a folder that ``medseg run`` takes, with a folder of each fold in it, and
    cross_validation.csv and .json. A budget is that of one fold. Folds that are finished are
    not trained again. Raises what ``train`` does.
    """
    if team_size() > 1:
        told = "torchrun trains one fold at a time: give --fold a name, not 'all'"
        raise PipelineError("E_CONFIG", told)
    recipe, _ = trainable(pipeline)
    site = site or Site()
    with held(model):
        found = sound(pipeline, model, limits_of(site).memory_gib, True, unheard)
        folds = folds_of(roll(found.studies, recipe, found.values), recipe)
        places = {fold: model / id_of(f"fold_{fold}") for fold in folds}
        done: dict[str, TrainSummary] = {}
        rows: list[_Row] = []
        shared = replace(options or Options(), shared=model)
        for fold, place in places.items():
            watch(Note(f"fold {fold}, {len(done) + 1} of {len(folds)}"))
            done[fold] = train(pipeline, place, site, fold=fold, options=shared, watch=watch)
            rows += _held_out(fold, place, site, watch)
        pooled = _pooled(rows, recipe.seed)
        _write_measures(model, rows, pooled)
        _write_ensemble(model, pipeline, places, pooled)
    return FoldsSummary(model, done, pooled)


def _held_out(fold: str, place: Path, site: Site, watch: Watch) -> Iterator[_Row]:
    """What the fold's model says of the studies that it has not seen."""
    trained = load_pipeline(place)
    where = replace(trained.input, path=place / "held_out.csv", reference=None)
    asked = replace(trained, input=where, output=place / "held_out")
    summary = predict(asked, site, watch=watch)
    for outcome in summary.outcomes:
        for one in outcome.record.get("metrics", []):
            measure = (one["label"], one["metric"], one["value"], one["reason"])
            yield _Row(fold, outcome.name, *measure)


def _pooled(rows: Sequence[_Row], seed: int) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.value is not None:
            values.setdefault(row.label, {}).setdefault(row.metric, []).append(row.value)
    return {
        label: {metric: interval(found, seed) for metric, found in metrics.items()}
        for label, metrics in values.items()
    }


def interval(values: Sequence[float], seed: int) -> Mapping[str, Any]:
    """Mean, 95 % interval of it by bootstrap over studies (Efron 1979), and how many; 1 or more."""
    found = np.asarray(values, float)
    chance = np.random.default_rng([seed, 17])
    means = found[chance.integers(found.size, size=(_DRAWS, found.size))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return {"mean": fmean(values), "low": low, "high": high, "n": found.size}


def _write_measures(model: Path, rows: Sequence[_Row], pooled: Mapping[str, Any]) -> None:
    columns = ["fold", "study", "label", "metric", "value", "reason"]
    cells = [(r.fold, r.study, r.label, r.metric, r.value, r.reason) for r in rows]
    write_atomically(model / "cross_validation.csv", csv_bytes(columns, cells))
    folds: dict[str, Any] = {}
    for fold in dict.fromkeys(row.fold for row in rows):
        own = _pooled([row for row in rows if row.fold == fold], 0)
        folds[fold] = {
            label: {metric: one["mean"] for metric, one in metrics.items()}
            for label, metrics in own.items()
        }
    said = {"pooled": pooled, "folds": folds}
    write_atomically(model / "cross_validation.json", (json.dumps(said, indent=1) + "\n").encode())


def _write_ensemble(
    model: Path, pipeline: Pipeline, places: Mapping[str, Path], pooled: Mapping[str, Any]
) -> None:
    """The pipeline with every fold's network, averaged; trained it cannot be as one."""
    _, step = trainable(pipeline)
    bare = ModelFolder(model, pipeline, step).described()
    steps: list[Step] = []
    seen: dict[str, tuple[float, float]] = {}
    for place in places.values():
        # A network may have grown, so each fold says itself what it has.
        fold = load_pipeline(place)
        own = next(one for one in fold.inference if isinstance(one, SlidingWindow | Slices))
        steps.append(replace(own, weights=Path(place.name) / WEIGHTS))
        for name, (low, high) in fold.quality.volumes_ml.items():
            least, most = seen.get(name, (low, high))
            seen[name] = (min(low, least), max(high, most))
    whole = flagging(replace(bare, inference=tuple(steps), training=None), seen)
    text = dump_pipeline(whole)
    write_atomically(model / "pipeline.yaml", text.encode())
    card = {
        "name": pipeline.name,
        "description": pipeline.description,
        "intended_use": INTENDED_USE,
        "labels": {label.name: list(label.values) for label in pipeline.labels},
        "channels": list(pipeline.input.channels),
        "network": step.model.name,
        "folds": {fold: place.name for fold, place in places.items()},
        "volumes_ml": {name: list(volumes) for name, volumes in seen.items()},
        "cross_validation": pooled,
        "weights_sha256": {fold: sha256_of(place / WEIGHTS) for fold, place in places.items()},
        "versions": dict(versions()),
    }
    text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(model / "card.json", text.encode())
