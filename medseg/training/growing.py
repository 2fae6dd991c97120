"""A network that grows while it trains: proposes, tries, and keeps or puts back.

Hill climbing on one path (Elsken et al. 2017, arXiv:1711.04528): places are compared by what
their gradients promise, operators take turns, and validation decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from medseg.models.growth import Growing, Move
from medseg.training.growth import Grown, Growth
from medseg.training.history import mean_dice
from medseg.training.learner import Learner
from medseg.training.weighing import Batch, Cost, Proposal, Weighing, built, cost


@dataclass(frozen=True)
class _Probe:
    """What is being tried, and all there was before: the very objects, untouched."""

    parent: Learner
    proposal: Proposal
    next_turn: int


@dataclass
class Grower:
    """Grows ``network``, the one that the learner of a training has.

    ``channels`` are those of the image and of the logits, ``batch`` gives training batches by
    their number, and ``watch`` hears of every attempt.
    """

    network: Growing
    growth: Growth
    channels: tuple[int, int]
    batch: Callable[[int], Batch]
    watch: Callable[[Grown], None] = lambda _: None
    rows: list[Grown] = field(default_factory=list, init=False)
    # All that a later run needs to know besides the network and the rows.
    looked: int = field(default=0, init=False)
    dice: float | None = field(default=None, init=False)
    turn: int = field(default=0, init=False)
    refused: list[str] = field(default_factory=list, init=False)
    over: bool = field(default=False, init=False)
    wanted: bool = field(default=False, init=False)
    _probe: _Probe | None = field(default=None, init=False)

    def due(self, learner: Learner, ending: bool) -> bool:
        """Whether validation is wanted after this epoch, or as the budget is ``ending``."""
        epochs = learner.iteration // learner.recipe.batches
        if self._probe is not None:
            tried = epochs - self._probe.parent.iteration // learner.recipe.batches
            return ending or tried >= self.growth.probe
        return not self.over and epochs - self.looked >= self.growth.every

    @property
    def current(self) -> Growing:
        """The network that is being trained, which may be one on trial."""
        return self.network if self._probe is None else self._probe.proposal.move.network

    def network_of(self, learner: Learner) -> Growing:
        """The structure of a learner: the one on trial, or that before it."""
        return self.network if learner is self.settled(learner) else self.current

    def settled(self, learner: Learner) -> Learner:
        """The learner that is worth keeping: not one on trial, but the one before it."""
        return learner if self._probe is None else self._probe.parent

    def after(self, learner: Learner, dice: Mapping[str, float | None], spent: float) -> Learner:
        """Hear the Dice of the labels that was asked for; gives the learner to go on from."""
        mean = mean_dice(dice)
        if self._probe is not None:
            return self._judged(learner, mean)
        last, self.dice = self.dice, mean
        self.looked = learner.iteration // learner.recipe.batches
        if spent >= self.growth.until:
            self.over = True
        elif not self.over and self._stagnant(last, mean):
            self.wanted = True
        return learner

    def _stagnant(self, last: float | None, now: float) -> bool:
        if self.growth.plateau is None:
            return True
        return last is not None and now - last <= self.growth.plateau * last

    def _judged(self, learner: Learner, mean: float) -> Learner:
        assert self._probe is not None
        assert self.dice is not None
        probe, self._probe, self.wanted = self._probe, None, False
        proposal, before = probe.proposal, self.dice
        accepted = mean >= before + self.growth.delta
        self.turn = probe.next_turn
        if accepted:
            self.network, self.dice, self.refused = proposal.move.network, mean, []
        else:
            self.refused.append(_name(proposal.move))
            self.over = len(self.refused) >= self.growth.refusals
        kept = learner if accepted else probe.parent
        self.looked = kept.iteration // kept.recipe.batches
        row = Grown(
            epoch=probe.parent.iteration // probe.parent.recipe.batches,
            iteration=probe.parent.iteration,
            operator=proposal.move.operator,
            where=proposal.move.where,
            promise=proposal.promise,
            parameters=proposal.cost.parameters,
            gmacs=proposal.cost.gmacs,
            dice_before=before,
            dice_after=mean,
            accepted=accepted,
        )
        self.rows.append(row)
        self.watch(row)
        return kept

    def grown(self, learner: Learner) -> Learner:
        """Begin to try what is most promising, where growth is wanted."""
        if not self.wanted or self._probe is not None:
            return learner
        found = self._proposed(learner)
        if found is None:
            self.over, self.wanted = True, False
            return learner
        proposal, turn = found
        child = learner.grown(built(proposal.move.network, self.channels), proposal.morph)
        self._probe = _Probe(learner, proposal, turn)
        return child

    def _proposed(self, learner: Learner) -> tuple[Proposal, int] | None:
        """The next operator in turn that may do anything, where it promises most; the turn then."""
        operators, patch = self.growth.operators, learner.recipe.patch
        for n in range(len(operators)):
            operator = operators[(self.turn + n) % len(operators)]
            moves = self.network.moves(operator, patch, self.growth.factor)
            priced = [(move, cost(move.network, self.channels, patch)) for move in moves]
            priced = [
                (move, price)
                for move, price in priced
                if self._affordable(price) and _name(move) not in self.refused
            ]
            if priced:
                return self._best(learner, priced), (self.turn + n + 1) % len(operators)
        return None

    def _affordable(self, price: Cost) -> bool:
        most = self.growth.max_parameters, self.growth.max_gmacs
        return all(
            limit is None or asked <= limit for limit, asked in zip(most, price, strict=True)
        )

    def _best(self, learner: Learner, priced: Sequence[tuple[Move, Cost]]) -> Proposal:
        first = learner.iteration
        batches = [self.batch(first + n) for n in range(self.growth.batches)]
        seed = int(np.random.SeedSequence([learner.recipe.seed, first, 13]).generate_state(1)[0])
        scales = Weighing(learner, self.network, self.channels, batches, seed)
        return max(scales.weighed(priced), key=lambda one: one.promise)

    def state(self) -> str:
        """As JSON, all that a later run needs; what is on trial is tried anew by it."""
        kept = {name: getattr(self, name) for name in _KEPT}
        rows = [asdict(row) for row in self.rows]
        return json.dumps({**kept, "rows": rows, "network": self.network.genotype_json()})

    def restore(self, text: str, learner: Learner) -> Learner:
        """Go on from ``state``; gives a learner of the network that had grown by then."""
        state: dict[str, Any] = json.loads(text)
        self.rows[:] = [Grown(**row) for row in state["rows"]]
        for name in _KEPT:
            setattr(self, name, state[name])
        self.network = type(self.network).from_json(state["network"])
        return learner.of(built(self.network, self.channels))


_KEPT = ("looked", "dice", "turn", "refused", "over", "wanted")


def _name(move: Move) -> str:
    return f"{move.operator} {move.where}"
