"""Patches for training, drawn so that batch number n is the same on every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.image import Grid, LabelMap, Labels, Volume
from medseg.training.augmentation import Augmentation
from medseg.training.packed import Packed
from medseg.training.recipe import Training
from medseg.training.spatial import Moves, Sides

_KEPT = 10_000
"""Foreground voxels remembered for each value of a case."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Voxels on a grid in any float or integer, perhaps on disk: (C, X, Y, Z) or (X, Y, Z)."""

    data: NDArray[Any] | Packed
    grid: Grid


@dataclass(frozen=True, eq=False)
class Case:
    """A preprocessed study: ``image`` and the reference ``target`` on one grid.

    ``places`` are those of each value where they are known already.
    """

    name: str
    image: Volume | Stored
    target: LabelMap | Stored
    places: Mapping[int, NDArray[np.intp]] | None = None

    @cached_property
    def foreground(self) -> Mapping[int, NDArray[np.intp]]:
        """For each value of a label, where it is: up to 10,000 voxels (N, 3), spread evenly."""
        if self.places is not None:
            return self.places
        assert isinstance(self.target, LabelMap)
        return places_of(self.target)


def places_of(target: LabelMap) -> dict[int, NDArray[np.intp]]:
    """For each value of a label, where it is: up to 10,000 voxels (N, 3), spread evenly."""
    found = {}
    for value in sorted(target.labels.values & set(np.unique(target.data).tolist())):
        places = np.flatnonzero(target.data == value)
        step = -(-places.size // _KEPT)
        found[value] = np.stack(np.unravel_index(places[::step], target.data.shape), -1)
    return found


@dataclass(frozen=True, eq=False)
class _Pick:
    """A patch to be cut: of which case, from which voxel on, and with whose chance changed."""

    case: Case
    start: Sides
    chance: np.random.RandomState


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws batches; ``axes`` are the normals of slices for a 2D network, else empty.

    Patches are changed on ``device``. Of several processes each has its ``share``: the first of
    two takes every second patch, beginning with the first of batch 0, the second of batch 1, and
    so on. ``labels`` are those of the targets.
    """

    cases: Sequence[Case]
    recipe: Training
    axes: tuple[int, ...] = ()
    labels: Labels | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    share: tuple[int, int] = (0, 1)

    @cached_property
    def _changes(self) -> list[Augmentation]:
        given = self.recipe.augmentation
        return [one if self.labels is None else one.of(self.labels) for one in given]

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Images (B, C, *space) and targets (B, 1, *space) of batch ``number``."""
        chance = np.random.default_rng([self.recipe.seed, number])
        axis = int(chance.choice(self.axes)) if self.axes else None
        picks = self._picks(number, chance, axis)
        changes = [one if axis is None else one.across(axis) for one in self._changes]
        chances = [pick.chance for pick in picks]
        shape = (picks[0].case.image.data.shape[0], *self.recipe.patch)
        moves = Moves.of(changes, chances, shape)
        sizes = moves.sizes(self.recipe.patch, [self._spare(pick, axis) for pick in picks])
        pairs = zip(*(self._patch(pick, axis, sizes[0]) for pick in picks), strict=True)
        images, targets = (torch.from_numpy(np.stack(one)).to(self.device) for one in pairs)
        images, targets = moves.on(images, targets, sizes)
        for change in changes[len(moves.steps) :]:
            images, targets = change.on_batch(images, targets, chances)
        return images.float(), targets.long()

    def _picks(self, number: int, chance: np.random.Generator, axis: int | None) -> list[_Pick]:
        """What this process cuts; forced patches, the last of a batch, go to each in turn."""
        free = round(self.recipe.batch * (1 - self.recipe.foreground))
        if self.recipe.foreground > 0:
            free = min(free, self.recipe.batch - 1)
        picks = []
        for place in range(self.recipe.batch):
            case = self._case(number * self.recipe.batch + place)
            start = self._start(case, chance, place >= free, axis)
            legacy = np.random.RandomState(chance.integers(1 << 32, dtype=np.uint32))
            if (place + number) % self.share[1] == self.share[0]:
                picks.append(_Pick(case, start, legacy))
        return picks

    def _case(self, count: int) -> Case:
        """Every case once, in an order of its own, before any comes again."""
        turn, place = divmod(count, len(self.cases))
        order = np.random.default_rng([self.recipe.seed, 7, turn]).permutation(len(self.cases))
        return self.cases[int(order[place])]

    def _sides(self, axis: int | None, within: Sides | None = None) -> Sides:
        """Sides in a volume: the recipe's, or those ``within`` a slice across ``axis``."""
        sides = np.asarray(self.recipe.patch if within is None else within, np.intp)
        return sides if axis is None else np.insert(sides, axis, 1)

    def _spare(self, pick: _Pick, axis: int | None) -> Sides:
        """How far the volume goes on beyond the patch, along each axis that the patch has."""
        behind = pick.case.target.data.shape - pick.start - self._sides(axis)
        spare = np.maximum(np.maximum(pick.start, behind), 0)
        return spare if axis is None else np.delete(spare, axis)

    def _start(
        self, case: Case, chance: np.random.Generator, forced: bool, axis: int | None
    ) -> Sides:
        sides, shape = self._sides(axis), np.asarray(case.target.data.shape)
        if forced and case.foreground:
            places = case.foreground[int(chance.choice(list(case.foreground)))]
            centre = places[chance.integers(len(places))]
            first = centre - sides // 2
        else:
            first = chance.integers(np.maximum(shape - sides, 0) + 1)
        # A volume smaller than the patch lies in its middle; a larger one fills it.
        filled = np.clip(first, 0, np.maximum(shape - sides, 0))
        return np.asarray(np.where(shape <= sides, -((sides - shape) // 2), filled))

    def _patch(
        self, pick: _Pick, axis: int | None, size: Sides
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The patch with as much around it as a ``size`` beyond its own asks for."""
        sides = self._sides(axis, size)
        start = pick.start - (sides - self._sides(axis)) // 2
        image = _cut(pick.case.image.data, start, sides).astype(np.float32, copy=False)
        target = _cut(pick.case.target.data, start, sides)[None].astype(np.float32)
        if axis is not None:
            image, target = image.squeeze(1 + axis), target.squeeze(1 + axis)
        return image, target


def _cut(data: NDArray[Any] | Packed, start: Sides, sides: Sides) -> NDArray[Any]:
    """``data (..., X, Y, Z)`` from ``start`` on, with zeros where it does not reach."""
    before = data.shape[:-3]
    out = np.zeros((*before, *sides), data.dtype)
    source, place = [slice(None)] * len(before), [slice(None)] * len(before)
    for first, side, length in zip(start, sides, data.shape[-3:], strict=True):
        low, high = max(first, 0), min(first + side, length)
        source.append(slice(low, high))
        place.append(slice(low - first, high - first))
    out[tuple(place)] = data[tuple(source)]
    return out
