"""Post-processing chosen by cross-validation: what raises Dice, and no more.

Each study is segmented by a network that has not seen it; all folds together choose (as nnU-Net
does, Isensee et al. 2021). A label takes, in rounds, that candidate which raises its mean Dice
most: its largest piece alone, without small pieces, or with its holes filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap, Labels
from medseg.metrics import Comparison
from medseg.postprocess.components import KeepLargest, RemoveSmall
from medseg.postprocess.holes import FillHoles
from medseg.step import Step, through

_ROUNDS = 3
_LEAST_GAIN = 1e-4
_SMALL = (0.01, 0.05, 0.2)
"""Pieces below these shares of a label's median volume are candidates to be removed."""

Pair = tuple[LabelMap, LabelMap]
Pairs = Callable[[], Iterator[Pair]]
"""Masks of held-out studies beside their references, from the beginning at each call."""
Table = Mapping[str, NDArray[np.float64]]
"""Dice of each label in each study; 1 where both masks are without it."""


@dataclass(frozen=True)
class Choice:
    """The steps that are to follow, and mean Dice of each label without and with them.

    ``dropped`` says that the pipeline's own steps lowered the Dice and were left out.
    """

    steps: tuple[Step, ...]
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    dropped: bool = False

    @property
    def why(self) -> str:
        """A sentence for the file that the steps stand in."""
        if not self.steps:
            return "Nothing that was tried raised the Dice of held-out studies."
        moved = [f"{name} {self.before[name]:.4f} to {self.after[name]:.4f}" for name in self.after]
        return f"Chosen by cross-validation; mean Dice of held-out studies: {', '.join(moved)}."


def is_cleaning(step: Step) -> bool:
    """Whether a step is of the kinds that are chosen among."""
    return isinstance(step, KeepLargest | RemoveSmall | FillHoles)


def chosen(pairs: Pairs, labels: Labels, own: Sequence[Step] = ()) -> Choice:
    """The steps that give the highest mean Dice over labels.

    ``own`` are those that the pipeline asks for: they stay unless the studies are better off
    without them.
    """
    smalls = _smalls(pairs, labels)
    found = _greedy(pairs, tuple(own), smalls)
    if not own:
        return found
    bare = _greedy(pairs, (), smalls)
    better = _mean(bare.after) > _mean(found.after) + _LEAST_GAIN
    if better:
        return Choice(bare.steps, bare.before, bare.after, dropped=True)
    return Choice(found.steps, bare.before, found.after)


def _greedy(pairs: Pairs, begin: tuple[Step, ...], smalls: Mapping[str, Sequence[float]]) -> Choice:
    steps, tried = begin, set[tuple[str, int]]()
    now, offered = _measured(pairs, steps, smalls)
    first = _means(now)
    for _ in range(_ROUNDS):
        picked = _best(now, offered, tried)
        if not picked:
            break
        tried |= set(picked.items())
        more = (*steps, *_together(picked, smalls, len(now)))
        after, following = _measured(pairs, more, smalls)
        means = _means(after)
        # Steps are tried each alone; together they must hold what they promised.
        if _mean(means) <= _mean(_means(now)) or _falls(_means(now), means):
            break
        steps, now, offered = more, after, following
    return Choice(steps, first, _means(now))


def _smalls(pairs: Pairs, labels: Labels) -> dict[str, list[float]]:
    """Volumes in ml below which pieces of each label may be small."""
    volumes: dict[str, list[float]] = {name: [] for name in labels.names}
    for _, reference in pairs():
        for name, volume in reference.volumes_ml().items():
            if volume > 0 and name in volumes:
                volumes[name].append(volume)
    return {
        name: [float(f"{share * median(found):.2g}") for share in _SMALL] if found else []
        for name, found in volumes.items()
    }


def _candidates(name: str, smalls: Mapping[str, Sequence[float]]) -> list[Step]:
    """What may be done about a label, always in this order."""
    removing = [RemoveSmall(labels=(name,), min_ml=least) for least in smalls.get(name, ())]
    return [KeepLargest(labels=(name,)), *removing, FillHoles(labels=(name,))]


def _measured(
    pairs: Pairs, steps: Sequence[Step], smalls: Mapping[str, Sequence[float]]
) -> tuple[Table, dict[tuple[str, int], NDArray[np.float64]]]:
    """Dice after ``steps``, and of each label after each of its candidates as well."""
    plain: dict[str, list[float]] = {}
    offered: dict[tuple[str, int], list[float]] = {}
    for given, reference in pairs():
        mask = through(steps, given)
        for name, value in _dice(mask, reference).items():
            plain.setdefault(name, []).append(value)
        for name in set(mask.labels.names) & set(reference.labels.names):
            for place, step in enumerate(_candidates(name, smalls)):
                done = through([step], mask)
                value = plain[name][-1] if done is mask else _dice(done, reference)[name]
                offered.setdefault((name, place), []).append(value)
    return (
        {name: np.asarray(found) for name, found in plain.items()},
        {place: np.asarray(found) for place, found in offered.items()},
    )


def _dice(mask: LabelMap, reference: LabelMap) -> dict[str, float]:
    counts = Comparison(mask, reference).counts
    return {
        name: 2 * one.both / (one.prediction + one.reference)
        if one.prediction + one.reference
        else 1.0
        for name, one in counts.items()
    }


def _best(
    now: Table,
    offered: Mapping[tuple[str, int], NDArray[np.float64]],
    tried: set[tuple[str, int]],
) -> dict[str, int]:
    """For each label that gains by one of its candidates the place of the best."""
    picked: dict[str, int] = {}
    gains: dict[str, float] = {}
    for (name, place), values in offered.items():
        gain = float(values.mean() - now[name].mean())
        if (name, place) not in tried and gain >= max(_LEAST_GAIN, gains.get(name, 0) + 1e-9):
            picked[name], gains[name] = place, gain
    return picked


def _together(
    picked: Mapping[str, int], smalls: Mapping[str, Sequence[float]], count: int
) -> list[Step]:
    """One step for all labels that take the same; of ``count`` labels it names none."""
    steps: dict[Step, list[str]] = {}
    for name, place in picked.items():
        step = _candidates(name, smalls)[place]
        bare = _of(step, None)
        steps.setdefault(bare, []).append(name)
    return [
        _of(step, None if len(names) == count else tuple(sorted(names)))
        for step, names in steps.items()
    ]


def _of(step: Step, names: tuple[str, ...] | None) -> Step:
    assert isinstance(step, KeepLargest | RemoveSmall | FillHoles)
    return replace(step, labels=names)


def _means(table: Table) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in table.items()}


def _mean(means: Mapping[str, float]) -> float:
    return sum(means.values()) / max(len(means), 1)


def _falls(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    return any(after[name] < value - 1e-9 for name, value in before.items())
