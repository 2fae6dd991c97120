"""What a step of growth costs, and what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medseg.models.device import densely, without_values
from medseg.models.growth import Growing, Move
from medseg.models.modules.gradmax import Directions, gradmax, promise
from medseg.models.modules.morphisms import Morph
from medseg.training.learner import Learner

Batch = tuple[Tensor, Tensor]


class Cost(NamedTuple):
    """What a network asks for: parameters, and 10^9 multiplications for one patch."""

    parameters: int
    gmacs: float


def cost(network: Growing, channels: tuple[int, int], patch: Sequence[int]) -> Cost:
    """The cost of a network on one patch; nothing is computed and no memory taken."""
    with without_values():
        module, image = network(*channels).eval(), torch.empty(1, channels[0], *patch)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(image)
    parameters = sum(p.numel() for p in module.parameters())
    return Cost(parameters, counter.get_total_flops() / 2e9)


def built(network: Growing, channels: tuple[int, int]) -> nn.Module:
    """The module, as training wants it in memory."""
    return densely(network(*channels), network.spatial_dims)


@dataclass(frozen=True)
class Proposal:
    """A move, what it costs and promises, and the way to it."""

    move: Move
    cost: Cost
    promise: float
    morph: Morph


@dataclass(frozen=True)
class Weighing:
    """Weighs steps of growth of ``network``, which ``learner`` has, by a few batches.

    Promises compare places for one operator; they say nothing of one operator over another.
    """

    learner: Learner
    network: Growing
    channels: tuple[int, int]
    batches: Sequence[Batch]
    seed: int

    def weighed(self, priced: Sequence[tuple[Move, Cost]]) -> Iterator[Proposal]:
        """Every move with what it promises: GradMax's values, or the gradient of what is new."""
        found = self._directions([move for move, _ in priced])
        for move, price in priced:
            directions = found.get(move.pair) if move.pair is not None else None
            morph = self.network.morph(self.learner.module, move, self.seed, directions)
            if directions is not None:
                promised = promise(directions)
            else:
                promised = self._of_new(built(move.network, self.channels), morph)
            yield Proposal(move, price, promised, morph)

    def _directions(self, moves: Sequence[Move]) -> dict[tuple[str, str], Directions]:
        pairs = {move.pair: move.count for move in moves if move.pair is not None}
        if not pairs:
            return {}
        # Statistics of normalisations change with every batch that is looked at.
        module = deepcopy(self.learner.module)
        asked = [
            lambda batch=batch: self.learner.loss(*batch, module=module)  # type: ignore[misc]
            for batch in self.batches
        ]
        return gradmax(module, pairs, asked)

    def _of_new(self, module: nn.Module, morph: Morph) -> float:
        """The squared gradient of all parameters that are new."""
        old = self.learner.module
        module.load_state_dict(morph.weights(old.state_dict()))
        module.to(self.learner.device).train()
        for batch in self.batches:
            self.learner.loss(*batch, module=module).backward()  # type: ignore[no-untyped-call]
        kept = morph.moments({key: torch.ones_like(p) for key, p in old.named_parameters()}, 1)
        total = 0.0
        for key, p in module.named_parameters():
            if p.grad is not None:
                new = p.grad if key not in kept else p.grad.where(kept[key] == 0, 0)
                total += float(new.double().square().sum())
        return total
