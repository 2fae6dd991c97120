"""``medseg train``: labelled studies to a model folder that ``medseg run`` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.errors import PipelineError
from medseg.image import Study
from medseg.inference import Slices
from medseg.inference.engine import forget
from medseg.models.device import densely, device_named
from medseg.models.weights import load_weights
from medseg.pipeline import Pipeline, Site
from medseg.run.board import Board
from medseg.run.card import data_of
from medseg.run.cases import read_cases, sound
from medseg.run.events import EpochDone, Note, StepDone, Watch, unheard
from medseg.run.exported import channels_of
from medseg.run.folder import held
from medseg.run.folds import Split, roll, split
from medseg.run.growth import check_growth, grower, sized
from medseg.run.model_folder import Ended, ModelFolder
from medseg.run.site import settled
from medseg.run.validation import Asking, Dices, dice_of, trainable
from medseg.training import Training
from medseg.training.growing import Grower
from medseg.training.history import Epoch
from medseg.training.learner import Learner
from medseg.training.loop import Listening, Loop
from medseg.training.objective import Objective
from medseg.training.sampling import Case, Sampler
from medseg.training.team import Team, joined, own_device

_DRAWN_SECONDS = 30.0
"""How often the history is drawn at most, validations and the end aside."""


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
    options: Options | None = None,
    watch: Watch = unheard,
) -> TrainSummary:
    """Train the pipeline's network and write the model folder ``model``.

    An earlier run in that folder is taken up where it stopped. ``fold`` is held out; without
    one, every study is trained on. Where ``torchrun`` started several processes, each learns
    from its part of every batch, and the first one writes.

    Raises InputError, OutputError, ModelError or PipelineError.
    """
    site, options = site or Site(), options or Options()
    recipe, written = trainable(pipeline)
    _check_previous(pipeline, recipe)
    pipeline = settled(pipeline, replace(site, device=own_device(site.device)))
    _, step = trainable(pipeline)
    with joined(device_named(step.device)) as team, ExitStack() as stack:
        stack.enter_context(_tuned(pipeline.deterministic))
        if team.leads:
            stack.enter_context(held(model))
        else:
            watch = unheard
        _check_team(recipe, team)
        run = _Run(pipeline, written.device, model, options, team, watch)
        return run.done(fold)


@dataclass(frozen=True)
class Options:
    """What of a training is not science: the folder that keeps what several trainings share
    (the audit and the cache; the model's own where left out), and TensorBoard.
    """

    shared: Path | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class _Run:
    """One training, with all that its parts ask for.

    ``device`` is what the pipeline's author wrote, whatever this machine trains on.
    """

    pipeline: Pipeline
    device: str
    model: Path
    options: Options
    team: Team
    watch: Watch

    def done(self, fold: str | None) -> TrainSummary:
        """Train until the budget is spent, and write the card."""
        recipe, step = trainable(self.pipeline)
        found = sound(self.pipeline, self.shared, self.team.leads, self.watch)
        parts = split(roll(found.studies, recipe, found.values), recipe, fold)
        check_growth(recipe, step, parts)
        _check_patience(recipe, parts)
        studies = {study.name: study for study in found.studies}
        seen = found.volumes_seen(self.pipeline.labels, parts.trained_on)
        asked = ModelFolder(self.model, self.pipeline, step, seen, self.device)
        if self.team.leads:
            asked.begin([studies[name] for name in parts.held_out])
        cases = self._cases([studies[name] for name in parts.trained_on])
        folder = sized(asked, recipe, cases)
        sampler = Sampler(
            cases,
            recipe,
            step.axes if isinstance(step, Slices) else (),
            self.pipeline.labels,
            device_named(step.device),
            (self.team.rank, self.team.size),
        )
        grows = grower(folder, recipe, sampler, self.watch)
        checked = [studies[name] for name in parts.validated]
        learner = _learner(self.pipeline, folder.step, recipe, self.team, self.watch)
        loop = self._loop(folder, asked.digests(parts), (learner, sampler, grows), checked)
        loop.run()
        data = [studies[name] for name in parts.trained_on]
        told = data_of(self.pipeline, data, found.values) if self.team.leads else {}
        return self._finished(folder, parts, loop, told)

    @property
    def shared(self) -> Path:
        """The folder of the audit and the cache."""
        return self.options.shared or self.model

    def _cases(self, studies: Sequence[Study]) -> list[Case]:
        """Preprocessed studies; where they are on disk, the first process makes them."""
        waits = self.team.size > 1 and trainable(self.pipeline)[0].cache != "memory"
        if waits and not self.team.leads:
            self.team.wait()
        cases = read_cases(self.pipeline, studies, self.shared, self.watch)
        if waits and self.team.leads:
            self.team.wait()
        return cases

    def _loop(
        self,
        folder: ModelFolder,
        digests: tuple[str, ...],
        parts: tuple[Learner, Sampler, Grower | None],
        checked: Sequence[Study],
    ) -> Loop:
        learner, sampler, grows = parts
        board = Board(self.model) if self.options.tensorboard and self.team.leads else None
        drawn = 0.0

        def tell(epoch: Epoch, spent: float) -> None:
            nonlocal drawn
            draws = bool(epoch.dice) or loop.over or loop.seconds - drawn >= _DRAWN_SECONDS
            folder.write_history(loop.epochs, draws)
            drawn = loop.seconds if draws else drawn
            if board is not None:
                board.hear(epoch)
            told = (epoch.epoch, epoch.minutes, spent, epoch.loss, epoch.learning_rate)
            self.watch(EpochDone(*told, epoch.dice))

        def measured() -> Dices:
            try:
                return dice_of(_now(folder, grows), checked, self.watch)
            finally:
                # The next one is by other weights.
                forget()

        loop = Loop(
            learner=learner,
            sampler=sampler,
            folder=self.model,
            digests=digests,
            validate=measured if checked else None,
            listening=Listening(
                epoch=tell,
                step=lambda loss, minutes, spent: self.watch(StepDone(loss, minutes, spent)),
                kept=lambda network: folder.of(network).write_pipeline(),
            ),
            grower=grows,
            team=self.team,
        )
        return loop

    def _finished(
        self, folder: ModelFolder, parts: Split, loop: Loop, data: Mapping[str, Any]
    ) -> TrainSummary:
        minutes, iterations, dice = loop.seconds / 60, loop.learner.iteration, loop.dice
        if self.team.leads:
            now = _now(folder, loop.grower)
            now.write_pipeline()
            grown = loop.grower.rows if loop.grower else ()
            now.finish(parts, data, Ended(minutes, iterations, dice, grown))
        self.team.wait()
        return TrainSummary(self.model, parts, minutes, iterations, dice)


@contextmanager
def _tuned(deterministic: bool) -> Iterator[None]:
    """Have cuDNN time its convolutions and take the fastest: all patches have one size."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _now(folder: ModelFolder, grows: Grower | None) -> ModelFolder:
    return folder if grows is None else folder.of(grows.current)


def _check_team(recipe: Training, team: Team) -> None:
    if team.size == 1:
        return
    if recipe.batch % team.size:
        told = f"training.batch {recipe.batch} is not to be shared by {team.size} processes"
        raise PipelineError("E_CONFIG", told)
    if recipe.growth is not None:
        raise PipelineError("E_CONFIG", "training.growth is for one process, without torchrun")


def _check_previous(pipeline: Pipeline, recipe: Training) -> None:
    if pipeline.previous is not None and recipe.growth is not None:
        told = "training.growth is for a network that sees the image alone, without 'previous'"
        raise PipelineError("E_CONFIG", told)


def _check_patience(recipe: Training, parts: Split) -> None:
    if recipe.patience is not None and not parts.validated:
        told = "training.patience is by validation; give a --fold to hold out"
        raise PipelineError("E_CONFIG", told)


def _learner(
    pipeline: Pipeline, step: Asking, recipe: Training, team: Team, watch: Watch
) -> Learner:
    torch.manual_seed(recipe.seed)
    model = step.model if recipe.start is None else step.model.without_download()
    module = model(channels_of(pipeline), pipeline.labels.channels)
    if recipe.start is not None:
        for key in load_weights(module, recipe.start):
            watch(Note(f"{key} of the checkpoint has no place in the network and is left out"))
    objective = Objective(
        pipeline.labels, recipe.dice_weight, recipe.cross_entropy_weight, recipe.label_weights
    )
    device = device_named(step.device)
    dense = densely(module, step.model.spatial_dims)
    return Learner(dense, objective, recipe, device, team)
