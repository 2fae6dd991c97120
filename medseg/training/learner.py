"""A network while it learns: its weights, their average, and one step of training."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import cos, pi
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from medseg.models.device import autocast, layout
from medseg.models.modules.morphisms import Morph
from medseg.training.objective import Objective
from medseg.training.recipe import Training
from medseg.training.team import ALONE, Team

_MOMENTS: dict[str, Literal[1, 2]] = {"exp_avg": 1, "momentum_buffer": 1, "exp_avg_sq": 2}
"""Running means that optimizers keep of gradients (1) and of their squares (2)."""

_STATISTICS = ("running_mean", "running_var")
"""What batch normalisation remembers of what the weights give, and is averaged as they are."""


@dataclass
class Learner:
    """``module`` is trained; ``average`` is what is kept (an exponential mean).

    Of a ``team``, every process has the same module and learns from patches of its own.
    """

    module: nn.Module
    objective: Objective
    recipe: Training
    device: torch.device
    team: Team = ALONE
    average: nn.Module = field(init=False)
    iteration: int = field(default=0, init=False)
    learning_rate: float = field(default=0.0, init=False)
    grown_at: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.module = self.team.synced(self.module, self.device)
        self.module.to(self.device).train()
        self.average = deepcopy(self.module).requires_grad_(False)
        decayed = [p for p in self.module.parameters() if p.ndim > 1]
        kept = [p for p in self.module.parameters() if p.ndim <= 1]
        self._optimizer = self._optimised(
            [
                {"params": decayed, "weight_decay": self.recipe.decay},
                {"params": kept, "weight_decay": 0.0},
            ]
        )
        run = self.module
        if self.recipe.compile:
            # All batches are of one size.
            run = cast(nn.Module, torch.compile(self.module, dynamic=False))
        # What runs shares its weights with the module, whose names stay as they are.
        self._run = self.team.shared(run, self.device)
        half = self.recipe.precision == "float16"
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=half)

    def _optimised(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        if self.recipe.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=self.recipe.rate)
        momentum = self.recipe.momentum
        return torch.optim.SGD(groups, self.recipe.rate, momentum=momentum, nesterov=momentum > 0)

    def step(self, images: Tensor, targets: Tensor, spent: float) -> Tensor:
        """One step on a batch, with the share ``spent`` of the budget; gives the loss.

        The loss stays on the device, so that nothing waits for it.
        """
        self._set_rate(spent)
        # Dropout draws by the number of the step too, so that there is no state to be saved.
        rank = [self.team.rank] if self.team.size > 1 else []
        chance = np.random.SeedSequence([self.recipe.seed, self.iteration, *rank])
        torch.manual_seed(int(chance.generate_state(1)[0]))
        loss = self.loss(images, targets, self.module)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.gradient_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.iteration += 1
        self._update_average()
        return loss.detach()

    def loss(self, images: Tensor, targets: Tensor, module: nn.Module) -> Tensor:
        """The loss that ``module`` has on a batch."""
        images = images.to(self.device, non_blocking=True)
        images = images.contiguous(memory_format=layout(images.ndim - 2))
        targets = targets.to(self.device, non_blocking=True)
        with autocast(self.device, self.recipe.precision):
            logits = (self._run if module is self.module else module)(images)
        return self.objective(logits, targets)

    def of(self, module: nn.Module) -> Learner:
        """A learner of another module that has learnt nothing yet."""
        return replace(self, module=module)

    def grown(self, module: nn.Module, morph: Morph) -> Learner:
        """A learner of ``module`` that goes on from here, where ``morph`` leads.

        This one stays as it is, to the last bit.
        """
        module.load_state_dict(morph.weights(self.module.state_dict()))
        child = self.of(module)
        child.average.load_state_dict(morph.weights(self.average.state_dict()))
        child._scaler.load_state_dict(self._scaler.state_dict())
        child.iteration = child.grown_at = self.iteration
        child._take_moments(self, morph)
        return child

    def _take_moments(self, parent: Learner, morph: Morph) -> None:
        """The running means of gradients of another, as ``morph`` changes them."""
        old = {
            name: parent._optimizer.state[p]
            for name, p in parent.module.named_parameters()
            if p in parent._optimizer.state
        }
        kinds = {key for one in old.values() for key in one if key in _MOMENTS}
        news = {
            key: morph.moments({name: one[key] for name, one in old.items()}, _MOMENTS[key])
            for key in kinds
        }
        for name, p in self.module.named_parameters():
            if name in old:
                state = {k: torch.empty_like(p).copy_(news[k][name]).detach() for k in kinds}
                if "step" in old[name]:
                    state["step"] = old[name]["step"].clone()
                self._optimizer.state[p] = state

    def _set_rate(self, spent: float) -> None:
        recipe = self.recipe
        if recipe.schedule == "cosine":
            share = 0.5 * (1 + cos(pi * min(spent, 1.0)))
        else:
            share = (1 - min(spent, 1.0)) ** 0.9
        if spent < recipe.warm_up:
            share *= max(spent / recipe.warm_up, 0.01)
        if self.grown_at is not None and recipe.growth is not None:
            steps = self.iteration - self.grown_at + 1
            share *= min(steps / (recipe.growth.warm_up + 1), 1.0)
        self.learning_rate = recipe.rate * share
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate

    def _update_average(self) -> None:
        # Early on the average follows closely, or it would remember the first random weights.
        decay = min(self.recipe.ema, self.iteration / (self.iteration + 9))
        means: list[Tensor] = [*self.average.parameters()]
        news: list[Tensor] = [*self.module.parameters()]
        with torch.no_grad():
            buffers = zip(self.average.named_buffers(), self.module.buffers(), strict=True)
            for (name, kept), now in buffers:
                if name.endswith(_STATISTICS):
                    means.append(kept)
                    news.append(now)
                else:
                    kept.copy_(now)
            torch._foreach_lerp_(means, news, 1 - decay)

    def state(self) -> dict[str, Any]:
        """All that a later run needs to go on as if nothing had happened."""
        return {
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "iteration": self.iteration,
            "learning_rate": self.learning_rate,
            "grown_at": self.grown_at,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.iteration = state["iteration"]
        self.learning_rate = state.get("learning_rate", 0.0)
        self.grown_at = state.get("grown_at")
