"""Patches for training, drawn so that batch number n is the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.image import LabelMap, Volume
from medseg.training.recipe import Training

_KEPT = 10_000
"""Foreground voxels remembered for each value of a case."""


@dataclass(frozen=True, eq=False)
class Case:
    """A preprocessed study: ``image`` and the reference ``target`` on one grid."""

    name: str
    image: Volume
    target: LabelMap

    @cached_property
    def foreground(self) -> dict[int, NDArray[np.intp]]:
        """For each value of a label, where it is: up to 10,000 voxels (N, 3), spread evenly."""
        found = {}
        for value in sorted(self.target.labels.values & set(np.unique(self.target.data).tolist())):
            places = np.flatnonzero(self.target.data == value)
            step = -(-places.size // _KEPT)
            spread = np.unravel_index(places[::step], self.target.data.shape)
            found[value] = np.stack(spread, -1)
        return found


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws batches; ``axes`` are the normals of slices for a 2D network, else empty."""

    cases: Sequence[Case]
    recipe: Training
    axes: tuple[int, ...] = ()

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Images (B, C, *space) and targets (B, 1, *space) of batch ``number``."""
        chance = np.random.default_rng([self.recipe.seed, number])
        axis = int(chance.choice(self.axes)) if self.axes else None
        free = round(self.recipe.batch * (1 - self.recipe.foreground))
        if self.recipe.foreground > 0:
            free = min(free, self.recipe.batch - 1)
        patches = []
        for place in range(self.recipe.batch):
            case = self._case(number * self.recipe.batch + place)
            patch = self._patch(case, chance, place >= free, axis)
            legacy = np.random.RandomState(chance.integers(1 << 32, dtype=np.uint32))
            for change in self.recipe.augmentation:
                patch = change(patch, legacy)
            patches.append(patch)
        images, targets = zip(*patches, strict=True)
        return torch.stack(images).float(), torch.stack(targets).long()

    def _case(self, count: int) -> Case:
        """Every case once, in an order of its own, before any comes again."""
        turn, place = divmod(count, len(self.cases))
        order = np.random.default_rng([self.recipe.seed, 7, turn]).permutation(len(self.cases))
        return self.cases[int(order[place])]

    def _patch(
        self, case: Case, chance: np.random.Generator, forced: bool, axis: int | None
    ) -> tuple[Tensor, Tensor]:
        sides = list(self.recipe.patch)
        if axis is not None:
            sides.insert(axis, 1)
        shape = case.target.data.shape
        if forced and case.foreground:
            places = case.foreground[int(chance.choice(list(case.foreground)))]
            centre = places[chance.integers(len(places))]
            first = centre - np.asarray(sides) // 2
        else:
            spare = np.maximum(np.asarray(shape) - sides, 0)
            first = chance.integers(spare + 1)
        # A volume smaller than the patch lies in its middle; a larger one fills it.
        start = [
            -((side - n) // 2) if n <= side else int(np.clip(at, 0, n - side))
            for at, side, n in zip(first, sides, shape, strict=True)
        ]
        image = _cut(case.image.data, start, sides)
        target = _cut(case.target.data[None], start, sides).astype(np.float32)
        if axis is not None:
            image, target = image.squeeze(1 + axis), target.squeeze(1 + axis)
        return torch.from_numpy(image), torch.from_numpy(target)


def _cut(data: NDArray[Any], start: Sequence[int], sides: Sequence[int]) -> NDArray[Any]:
    """``data (C, X, Y, Z)`` from ``start`` on, with zeros where it does not reach."""
    out = np.zeros((data.shape[0], *sides), data.dtype)
    source, place = [slice(None)], [slice(None)]
    for first, side, length in zip(start, sides, data.shape[1:], strict=True):
        low, high = max(first, 0), min(first + side, length)
        source.append(slice(low, high))
        place.append(slice(low - first, high - first))
    out[tuple(place)] = data[tuple(source)]
    return out
