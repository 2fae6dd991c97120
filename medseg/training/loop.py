"""The loop: batches, steps, checkpoints and validation until the budget is spent."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.io import write_atomically
from medseg.models.weights import weights_bytes
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
    share of the budget that is spent.
    """

    learner: Learner
    sampler: Sampler
    folder: Path
    digest: str
    validate: Validate | None
    watch: Callable[[Epoch, float], None]
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
            for images, targets, losses in self._batches():
                with whole():
                    losses.append(self.learner.step(images, targets, self.spent))
                self.seconds = perf_counter() - begun
                if self.learner.iteration % recipe.batches and self.spent < 1:
                    continue
                over = self.spent >= 1
                due = over or self.seconds - validated >= recipe.validate_minutes * 60
                dice: Mapping[str, float | None] = {}
                if due and self.validate is not None:
                    self._save_weights()
                    dice = self.validate()
                    self.seconds = validated = perf_counter() - begun
                self._close_epoch(losses, dice)
                if over or self.seconds - saved >= recipe.checkpoint_minutes * 60:
                    self.save()
                    saved = self.seconds
        except KeyboardInterrupt:
            self.save()
            raise

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
        """Batches in their order while the budget lasts, made ahead in a thread."""
        losses: list[Tensor] = []
        with ThreadPoolExecutor(1) as maker:
            first = self.learner.iteration
            ahead = [maker.submit(self.sampler.batch, first + n) for n in range(_AHEAD)]
            while self.spent < 1:
                images, targets = ahead.pop(0).result()
                ahead.append(maker.submit(self.sampler.batch, self.learner.iteration + _AHEAD))
                yield images, targets, losses
            for one in ahead:
                one.cancel()

    def _close_epoch(self, losses: list[Tensor], dice: Mapping[str, float | None]) -> None:
        loss = float(torch.stack(losses).mean())
        losses.clear()
        number = -(-self.learner.iteration // self.learner.recipe.batches)
        epoch = Epoch(number, self.seconds / 60, loss, self.learner.learning_rate, dict(dice))
        self.epochs.append(epoch)
        self.watch(epoch, self.spent)

    def _save_weights(self) -> None:
        weights = self.learner.average.state_dict()
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise ModelError(
                "E_CHECKPOINT",
                "the weights are no longer finite numbers, and were not saved; lower"
                " training.learning_rate, or set training.precision to float32",
                self.folder,
            )
        write_atomically(self.folder / "weights.safetensors", weights_bytes(weights))

    def save(self) -> None:
        """Keep weights and checkpoint, each written whole or not at all."""
        self._save_weights()
        state = {
            "learner": self.learner.state(),
            "seconds": self.seconds,
            "epochs": [asdict(epoch) for epoch in self.epochs],
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
        self.learner.restore(state["learner"])
        self.seconds = state["seconds"]
        self.epochs[:] = [Epoch(**epoch) for epoch in state["epochs"]]


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
