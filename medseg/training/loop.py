"""The loop: batches, steps, checkpoints and validation until the budget is spent."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.io import write_atomically
from medseg.models.growth import Growing
from medseg.models.weights import weights_bytes
from medseg.training.growing import Grower
from medseg.training.history import Epoch
from medseg.training.interruption import whole
from medseg.training.learner import Learner
from medseg.training.sampling import Sampler

Validate = Callable[[], Mapping[str, float | None]]
_AHEAD = 3
"""Batches made while the network is busy with another."""


@dataclass
class Loop:
    """Trains ``learner`` and keeps ``weights.safetensors`` and ``checkpoint.pt`` in ``folder``.

    ``validate`` reads the weights from the folder and gives Dice by label. ``digest`` tells
    whether a checkpoint belongs to this recipe. ``watch`` hears every finished epoch and the
    share of the budget that is spent. ``grower`` grows the network, where that is wanted;
    ``kept`` hears of which structure the weights are that were written.
    """

    learner: Learner
    sampler: Sampler
    folder: Path
    digest: str
    validate: Validate | None
    watch: Callable[[Epoch, float], None]
    grower: Grower | None = None
    kept: Callable[[Growing], None] = lambda _: None
    epochs: list[Epoch] = field(default_factory=list, init=False)
    seconds: float = field(default=0.0, init=False)

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

    def run(self) -> None:
        """Train until the budget is spent; an interruption leaves a checkpoint."""
        self._resume()
        begun = perf_counter() - self.seconds
        saved = validated = self.seconds
        recipe = self.learner.recipe
        try:
            self._grow({})
            for images, targets, losses in self._batches():
                with whole():
                    losses.append(self.learner.step(images, targets, self.spent))
                self.seconds = perf_counter() - begun
                if self.learner.iteration % recipe.batches and self.spent < 1:
                    continue
                over = self.spent >= 1
                asked = self.grower is not None and self.grower.due(self.learner, over)
                due = over or asked or self.seconds - validated >= recipe.validate_minutes * 60
                dice: Mapping[str, float | None] = {}
                if due and self.validate is not None:
                    self._save_weights(self.learner)
                    dice = self.validate()
                    self.seconds = validated = perf_counter() - begun
                self._close_epoch(losses, dice, asked)
                if over or asked or self.seconds - saved >= recipe.checkpoint_minutes * 60:
                    self.save()
                    saved = self.seconds
        except KeyboardInterrupt:
            self.save()
            raise

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
        """Batches in their order while the budget lasts, made ahead in a thread.

        Their number is the iteration's, which goes back where a grown network is given up.
        """
        losses: list[Tensor] = []
        ahead: dict[int, Future[tuple[Tensor, Tensor]]] = {}
        with ThreadPoolExecutor(1) as maker:
            while self.spent < 1:
                now = self.learner.iteration
                stale = [ahead.pop(n) for n in [*ahead] if not now <= n < now + _AHEAD]
                for one in stale:
                    one.cancel()
                for n in range(now, now + _AHEAD + 1):
                    if n not in ahead:
                        ahead[n] = maker.submit(self.sampler.batch, n)
                images, targets = ahead.pop(now).result()
                yield images, targets, losses
            for one in ahead.values():
                one.cancel()

    def _grow(self, dice: Mapping[str, float | None]) -> None:
        """Let the network grow where its turn has come, or go back to what it was."""
        if self.grower is None:
            return
        with whole():
            if dice:
                self.learner = self.grower.after(self.learner, dice, self.spent)
            self.learner = self.grower.grown(self.learner)
        number = _epoch(self.learner)
        self.epochs[:] = [epoch for epoch in self.epochs if epoch.epoch <= number]

    def _close_epoch(
        self, losses: list[Tensor], dice: Mapping[str, float | None], asked: bool
    ) -> None:
        loss = float(torch.stack(losses).mean())
        losses.clear()
        rate, number = self.learner.learning_rate, _epoch(self.learner)
        epoch = Epoch(number, self.seconds / 60, loss, rate, dict(dice))
        self.epochs.append(epoch)
        if asked:
            self._grow(dice)
        self.watch(epoch, self.spent)

    def _save_weights(self, learner: Learner) -> None:
        weights = learner.average.state_dict()
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise ModelError(
                "E_CHECKPOINT",
                "the weights are no longer finite numbers, and were not saved; lower"
                " training.learning_rate, or set training.precision to float32",
                self.folder,
            )
        write_atomically(self.folder / "weights.safetensors", weights_bytes(weights))
        if self.grower is not None:
            self.kept(self.grower.network_of(learner))

    def save(self) -> None:
        """Keep weights and checkpoint, each written whole or not at all."""
        learner = self.learner if self.grower is None else self.grower.settled(self.learner)
        self._save_weights(learner)
        state = {
            "learner": learner.state(),
            "growth": self.grower and self.grower.state(),
            "seconds": self.seconds,
            "epochs": [asdict(one) for one in self.epochs if one.epoch <= _epoch(learner)],
            "digest": self.digest,
        }
        packed = io.BytesIO()
        torch.save(state, packed)
        write_atomically(self.folder / "checkpoint.pt", packed.getvalue())

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = _loaded(path, self.learner.device)
        if state["digest"] != self.digest:
            raise ModelError(
                "E_CHECKPOINT",
                "belongs to another recipe or other studies; choose another --output, or remove"
                " the folder to begin anew",
                path,
            )
        if self.grower is not None:
            self.learner = self.grower.restore(state["growth"], self.learner)
        self.learner.restore(state["learner"])
        self.seconds = state["seconds"]
        self.epochs[:] = [Epoch(**epoch) for epoch in state["epochs"]]
        if self.grower is not None:
            # What was on trial when the last run ended may have left its weights.
            self._save_weights(self.learner)


def _epoch(learner: Learner) -> int:
    return -(-learner.iteration // learner.recipe.batches)


def _loaded(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    # A damaged archive can end in almost any error, by where it was hit.
    except Exception as error:
        raise ModelError(
            "E_CHECKPOINT",
            f"is damaged ({type(error).__name__}); remove it to begin anew",
            path,
        ) from error
    return state
