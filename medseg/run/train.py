"""``medseg train``: labelled studies to a model folder that ``medseg run`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean

import torch

from medseg.errors import InputError, PipelineError
from medseg.execution import serial
from medseg.image import Study
from medseg.image.resampling import resample_labels
from medseg.inference import Slices, SlidingWindow
from medseg.io import read_labels, read_scan
from medseg.metrics import Comparison, Dice
from medseg.models.device import densely, device_named
from medseg.models.weights import load_weights
from medseg.pipeline import Pipeline, Site
from medseg.run.audit import Where, audit, read_looks, tell, write_looks
from medseg.run.events import EpochDone, Note, StageStarted, Watch, unheard
from medseg.run.folder import held
from medseg.run.folds import Split, split
from medseg.run.growth import check_growth, grower, sized
from medseg.run.model_folder import ModelFolder
from medseg.run.segment import prepared, segment
from medseg.run.site import limits_of, settled
from medseg.training import Training
from medseg.training.history import Epoch
from medseg.training.learner import Learner
from medseg.training.loop import Listening, Loop
from medseg.training.objective import Objective
from medseg.training.sampling import Case, Sampler

AUDIT = "audit.json"
Asking = SlidingWindow | Slices
Dices = Mapping[str, float | None]


@dataclass(frozen=True)
class TrainSummary:
    """A trained model: its folder, the split, and Dice on the studies that validate."""

    model: Path
    split: Split
    minutes: float
    iterations: int
    dice: Dices


def train(
    pipeline: Pipeline,
    model: Path,
    site: Site | None = None,
    *,
    fold: str | None = None,
    watch: Watch = unheard,
) -> TrainSummary:
    """Train the pipeline's network and write the model folder ``model``.

    An earlier run in that folder is taken up where it stopped. ``fold`` is held out; without
    one, every study is trained on. Raises InputError, OutputError, ModelError or PipelineError.
    """
    pipeline = settled(pipeline, site or Site())
    recipe, step = trainable(pipeline)
    limit = limits_of(site or Site()).memory_gib
    with held(model):
        studies = _sound(pipeline, model, limit, watch)
        parts = split(list(studies), recipe, fold)
        check_growth(recipe, step, parts)
        _check_patience(recipe, parts)
        asked = ModelFolder(model, pipeline, step)
        asked.begin([studies[name] for name in parts.held_out])
        cases = _cases(pipeline, [studies[name] for name in parts.trained_on], limit, watch)
        checked = [studies[name] for name in parts.validated]
        folder = sized(asked, recipe, cases)
        sampler = Sampler(cases, recipe, step.axes if isinstance(step, Slices) else ())
        grows = grower(folder, recipe, sampler, watch)

        def now() -> ModelFolder:
            return folder if grows is None else folder.of(grows.current)

        loop = Loop(
            learner=_learner(pipeline, folder.step, recipe, watch),
            sampler=sampler,
            folder=model,
            digests=asked.digests(parts),
            validate=(lambda: _dice(now().trained(), checked, watch)) if checked else None,
            listening=Listening(
                epoch=lambda epoch, spent: _tell(folder, loop, epoch, spent, watch),
                kept=lambda network: folder.of(network).write_pipeline(),
            ),
            grower=grows,
        )
        loop.run()
        now().write_pipeline()
        dice = loop.dice
        summary = TrainSummary(model, parts, loop.seconds / 60, loop.learner.iteration, dice)
        now().finish(parts, summary.minutes, summary.iterations, dice, grows.rows if grows else ())
    return summary


def _check_patience(recipe: Training, parts: Split) -> None:
    if recipe.patience is not None and not parts.validated:
        told = "training.patience is by validation; give a --fold to hold out"
        raise PipelineError("E_CONFIG", told)


def trainable(pipeline: Pipeline) -> tuple[Training, Asking]:
    """The recipe and the one network it trains; PipelineError where there is none, or two."""
    steps = [step for step in pipeline.inference if isinstance(step, SlidingWindow | Slices)]
    if pipeline.training is None or len(steps) != 1:
        found = f"{len(steps)} networks and {'a' if pipeline.training else 'no'} recipe"
        raise PipelineError(
            "E_CONFIG",
            f"training wants a 'training:' section and one network in 'inference:', not {found}",
        )
    if len(pipeline.training.patch) != steps[0].model.spatial_dims:
        raise PipelineError(
            "E_CONFIG",
            f"training.patch has {len(pipeline.training.patch)} sides and the network"
            f" {steps[0].model.spatial_dims} dimensions",
        )
    return pipeline.training, steps[0]


def _sound(pipeline: Pipeline, model: Path, limit: float | None, watch: Watch) -> dict[str, Study]:
    """The studies with nothing wrong; all others are told, and left out."""
    place = pipeline.input
    if place.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path; give --input")
    where = Where(place.path, place.reference, place.channels, replace(place, memory_gib=limit))
    asked = sha256(repr((pipeline.labels, replace(place, memory_gib=None))).encode()).hexdigest()
    found = audit(
        where,
        pipeline.labels,
        known=read_looks(model / AUDIT, asked),
        keep=lambda looks: write_looks(model / AUDIT, looks, asked),
        watch=watch,
    )
    tell(found, watch)
    if not found.studies:
        told = f"none of the {len(found.found.studies)} studies is fit to be trained on"
        raise InputError("E_NO_INPUT", told, place.path)
    return {study.name: study for study in found.studies}


def _cases(
    pipeline: Pipeline, studies: Sequence[Study], limit: float | None, watch: Watch
) -> list[Case]:
    """Preprocessed studies; one that cannot be read is told and left out."""
    options = replace(pipeline.input, memory_gib=limit)

    def read(study: Study) -> Case:
        scan = read_scan(study, options)
        assert study.reference is not None
        reference, _ = read_labels(
            study.reference, pipeline.labels, scan.volume.grid, pipeline.input
        )
        image, _ = prepared(scan.volume, pipeline)
        return Case(study.name, image, resample_labels(reference, image.grid))

    watch(StageStarted(f"reading {len(studies)} studies"))
    cases = []
    for done in serial(read, studies):
        if done.result is not None:
            cases.append(done.result)
        else:
            watch(Note(f"{done.item.name} is left out: {done.error}"))
    if not cases:
        raise InputError("E_NO_INPUT", "none of the studies to train on could be read")
    return cases


def _learner(pipeline: Pipeline, step: Asking, recipe: Training, watch: Watch) -> Learner:
    torch.manual_seed(recipe.seed)
    model = step.model if recipe.start is None else step.model.without_download()
    module = model(len(pipeline.input.channels), pipeline.labels.channels)
    if recipe.start is not None:
        for key in load_weights(module, recipe.start):
            watch(Note(f"{key} of the checkpoint has no place in the network and is left out"))
    objective = Objective(
        pipeline.labels, recipe.dice_weight, recipe.cross_entropy_weight, recipe.label_weights
    )
    device = device_named(step.device)
    return Learner(densely(module, step.model.spatial_dims), objective, recipe, device)


def _dice(pipeline: Pipeline, studies: Sequence[Study], watch: Watch) -> Dices:
    """Mean Dice of each label over studies, through the very corridor of ``medseg run``."""
    watch(StageStarted(f"validating on {len(studies)} studies"))
    values: dict[str, list[float]] = {name: [] for name in pipeline.labels.names}
    # Weights that change every time are not worth converting, nor a choice by one of them.
    _, step = trainable(pipeline)
    precision = "float32" if step.precision == "auto" else step.precision
    pipeline = replace(pipeline, inference=(replace(step, engine="torch", precision=precision),))
    for study in studies:
        scan = read_scan(study, pipeline.input).volume
        assert study.reference is not None
        mask = segment(scan, pipeline).mask
        reference, _ = read_labels(study.reference, mask.labels, scan.grid, pipeline.input)
        for measure in Dice()(Comparison(mask, reference)):
            if measure.value is not None and measure.label in values:
                values[measure.label].append(measure.value)
    return {name: fmean(found) if found else None for name, found in values.items()}


def _tell(folder: ModelFolder, loop: Loop, epoch: Epoch, spent: float, watch: Watch) -> None:
    folder.write_history(loop.epochs)
    watch(EpochDone(epoch.epoch, epoch.minutes, spent, epoch.loss, epoch.learning_rate, epoch.dice))
