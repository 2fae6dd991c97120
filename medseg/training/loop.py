"""The loop: batches, steps, checkpoints and validation until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from medseg.models.growth import Growing
from medseg.training.growing import Grower
from medseg.training.history import Best, Epoch, mean_dice
from medseg.training.interruption import terminable, whole
from medseg.training.keeping import keep_checkpoint, keep_weights, kept_checkpoint
from medseg.training.learner import Learner
from medseg.training.sampling import Sampler
from medseg.training.team import ALONE, Team

Dices = Mapping[str, float | None]
_AHEAD = 3
"""Batches made while the network is busy with another."""
_TOLD_SECONDS = 1.0


@dataclass(frozen=True)
class Listening:
    """Who hears of a training: every epoch and what is spent, and now and then a step.

    ``step`` hears the loss, the minutes and the share of the budget.
    ``kept`` hears of which structure the weights are that were written.
    """

    epoch: Callable[[Epoch, float], None] = lambda *_: None
    step: Callable[[float, float, float], None] | None = None
    kept: Callable[[Growing], None] = lambda _: None


@dataclass
class Loop:
    """Trains ``learner`` and keeps ``weights.safetensors`` and ``checkpoint.pt`` in ``folder``.

    ``validate`` reads the weights from the folder and gives Dice by label. A checkpoint is taken
    up that has one of ``digests``; new ones get the first. ``grower`` grows the network, where
    that is wanted. Of a ``team``, the first process alone writes, validates and tells.
    """

    learner: Learner
    sampler: Sampler
    folder: Path
    digests: tuple[str, ...]
    validate: Callable[[], Dices] | None
    listening: Listening = Listening()
    grower: Grower | None = None
    team: Team = ALONE
    epochs: list[Epoch] = field(default_factory=list, init=False)
    seconds: float = field(default=0.0, init=False)
    best: Best = field(default_factory=Best, init=False)
    _losses: list[Tensor] = field(default_factory=list, init=False)
    _begun: float = field(default=0.0, init=False)
    _saved: float = field(default=0.0, init=False)
    _validated: float = field(default=0.0, init=False)
    _told: float = field(default=0.0, init=False)

    @property
    def spent(self) -> float:
        """The share of the budget that is spent, 1 or more when it is over."""
        recipe = self.learner.recipe
        shares = [0.0]
        if recipe.max_minutes is not None:
            shares.append(self.seconds / 60 / recipe.max_minutes)
        if recipe.max_epochs is not None:
            shares.append(self.learner.iteration / recipe.batches / recipe.max_epochs)
        return max(shares)

    @property
    def over(self) -> bool:
        """Whether the budget is spent, or patience is at its end."""
        patience = self.learner.recipe.patience
        return self.spent >= 1 or (patience is not None and self.best.waited >= patience)

    def run(self) -> None:
        """Train until the budget is spent; an interruption leaves a checkpoint."""
        self._resume()
        self._begun = perf_counter() - self.seconds
        self._saved = self._validated = self.seconds
        try:
            with terminable():
                # Where nothing is left to be spent, nothing new is tried.
                if self.spent < 1:
                    self._grow({})
                # It was stopped while it validated.
                if self._losses and self._epoch_is_over:
                    self._end_epoch()
                for images, targets in self._batches():
                    self._step(images, targets)
        except (KeyboardInterrupt, SystemExit):
            self.save()
            raise
        if self.team.leads and self.best.weights is not None:
            keep_weights(self.folder, self.best.weights)

    @property
    def dice(self) -> Dices:
        """What the last validation found, or with patience the best of them."""
        found = [one.dice for one in self.epochs if set(one.dice.values()) - {None}]
        if self.best.weights is not None:
            # Checkpoints of earlier versions do not say.
            return self.best.labels or max(found, key=mean_dice)
        return found[-1] if found else {}

    @property
    def _epoch_is_over(self) -> bool:
        """Whether all its steps are done, or as many as the budget has."""
        return self.learner.iteration % self.learner.recipe.batches == 0 or self.spent >= 1

    def _step(self, images: Tensor, targets: Tensor) -> None:
        with whole():
            self._losses.append(self.learner.step(images, targets, self.spent))
        self._look()
        if self._epoch_is_over:
            self._end_epoch()
            return
        if self._due(self._saved, self.learner.recipe.checkpoint_minutes):
            self.save()
        step = self.listening.step
        if step is not None and self.team.leads and self.seconds - self._told > _TOLD_SECONDS:
            self._told = self.seconds
            step(float(self._losses[-1]), self.seconds / 60, self.spent)

    def _look(self) -> None:
        """Take the time, the same in every process of the team."""
        (self.seconds,) = self.team.agreed(perf_counter() - self._begun)

    def _due(self, last: float, minutes: float) -> bool:
        return self.seconds - last >= minutes * 60

    def _end_epoch(self) -> None:
        asked = self.grower is not None and self.grower.due(self.learner, self.spent >= 1)
        dice = self._measured() if asked or self._validation_due() else {}
        self._close_epoch(dice, asked)
        if self.over or asked or self._due(self._saved, self.learner.recipe.checkpoint_minutes):
            self.save()

    def _validation_due(self) -> bool:
        recipe = self.learner.recipe
        if self.spent >= 1:
            return True
        if recipe.validate_epochs is not None:
            return _epoch(self.learner) % recipe.validate_epochs == 0
        return self._due(self._validated, recipe.validate_minutes)

    def _measured(self) -> Dices:
        """Dice of each label on the studies that validate, with the weights as they are now."""
        if self.validate is None:
            return {}
        dice: Dices = {}
        if self.team.leads:
            self._save_weights(self.learner)
            dice = self.validate()
        names = self.learner.objective.labels.names
        values = [dice.get(name) for name in names]
        numbers = self.team.agreed(*(float("nan") if v is None else v for v in values))
        self._look()
        self._validated = self.seconds
        known = dict(zip(names, numbers, strict=True))
        return {name: None if isnan(value) else value for name, value in known.items()}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in their order while the budget lasts, made ahead in a thread.

        Their number is the iteration's, which goes back where a grown network is given up.
        """
        ahead: dict[int, Future[tuple[Tensor, Tensor]]] = {}
        with ThreadPoolExecutor(1) as maker:
            while not self.over:
                now = self.learner.iteration
                stale = [ahead.pop(n) for n in [*ahead] if not now <= n < now + _AHEAD]
                for one in stale:
                    one.cancel()
                for n in range(now, now + _AHEAD + 1):
                    if n not in ahead:
                        ahead[n] = maker.submit(self.sampler.batch, n)
                yield ahead.pop(now).result()
            for one in ahead.values():
                one.cancel()

    def _grow(self, dice: Dices) -> None:
        """Let the network grow where its turn has come, or go back to what it was."""
        if self.grower is None:
            return
        with whole():
            if dice:
                self.learner = self.grower.after(self.learner, dice, self.spent)
            self.learner = self.grower.grown(self.learner)
        number = _epoch(self.learner)
        self.epochs[:] = [epoch for epoch in self.epochs if epoch.epoch <= number]

    def _close_epoch(self, dice: Dices, asked: bool) -> None:
        with whole():
            epoch = self._row(dice)
            self._losses.clear()
            self.epochs.append(epoch)
            if self.learner.recipe.patience is not None:
                self.best.hear(dice, self.learner.average.state_dict)
            if asked:
                self._grow(dice)
        if self.team.leads:
            self.listening.epoch(epoch, self.spent)

    def _row(self, dice: Dices) -> Epoch:
        """The row of the epoch that ends, with what an earlier budget did of it."""
        loss = float(torch.stack(self._losses).mean())
        rate, number = self.learner.learning_rate, _epoch(self.learner)
        epoch = Epoch(number, self.seconds / 60, loss, rate, dict(dice))
        if not self.epochs or self.epochs[-1].epoch != number:
            return epoch
        done = self.learner.iteration - (number - 1) * self.learner.recipe.batches
        return epoch.after(self.epochs.pop(), len(self._losses) / done)

    def _save_weights(self, learner: Learner) -> None:
        keep_weights(self.folder, learner.average.state_dict())
        if self.grower is not None:
            self.listening.kept(self.grower.network_of(learner))

    def save(self) -> None:
        """Keep weights and checkpoint, each written whole or not at all."""
        self._saved = self.seconds
        if not self.team.leads:
            return
        learner = self.learner if self.grower is None else self.grower.settled(self.learner)
        self._save_weights(learner)
        settled = learner is self.learner
        state = {
            "learner": learner.state(),
            "growth": self.grower and self.grower.state(),
            "seconds": self.seconds,
            "epochs": [asdict(one) for one in self.epochs if one.epoch <= _epoch(learner)],
            "losses": [float(loss) for loss in self._losses] if settled else [],
            "best": self.best.state(),
            "budget": _budget(learner),
            "digest": self.digests[0],
        }
        keep_checkpoint(self.folder, state)

    def _resume(self) -> None:
        state = kept_checkpoint(self.folder, self.digests)
        if state is None:
            return
        if self.grower is not None:
            self.learner = self.grower.restore(state["growth"], self.learner)
        self.learner.restore(state["learner"])
        self.seconds = state["seconds"]
        self.epochs[:] = [Epoch(**epoch) for epoch in state["epochs"]]
        self._losses[:] = [
            torch.tensor(loss, device=self.learner.device) for loss in state.get("losses", [])
        ]
        self.best.restore(state.get("best", {}))
        if state.get("budget") != _budget(self.learner):
            # Another budget: what had ended is to go on, with all of its patience.
            self.best.waited = 0
        if self.grower is not None and self.team.leads:
            # What was on trial when the last run ended may have left its weights.
            self._save_weights(self.learner)


def _epoch(learner: Learner) -> int:
    return -(-learner.iteration // learner.recipe.batches)


def _budget(learner: Learner) -> list[Any]:
    recipe = learner.recipe
    return [recipe.max_minutes, recipe.max_epochs, recipe.patience]
