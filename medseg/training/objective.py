"""What training makes small: Dice plus cross-entropy over labels or regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    grid_sample,
    interpolate,
    max_pool2d,
    max_pool3d,
    one_hot,
)

from medseg.image import Labels
from medseg.models.heads import DetailHead, Head, Heads, PointHead


@dataclass(frozen=True)
class Objective:
    """Soft Dice over the batch (Milletari et al. 2016) plus cross-entropy.

    Dice is that of the labels the batch shows. Voxels with the ignore value count for neither.
    ``label_weights`` makes a label count more in both; a label not named counts 1, as does the
    background. Each head of a network counts by its own weight: coarser logits meet the target
    at their own size, points where they lie, details the edges of the labels (where these touch
    the ignore value nothing is learnt of them).
    """

    labels: Labels
    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    label_weights: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, heads: Tensor | Heads, target: Tensor) -> Tensor:
        """The loss of logits (B, K, *space), or of heads, against values (B, 1, *space)."""
        if isinstance(heads, Tensor):
            return self._of(Head(heads), target)
        first, *others = heads
        total = self._of(first, target)
        for head in others:
            total = total + self._of(head, target)
        return total

    def _of(self, head: Head | DetailHead | PointHead, target: Tensor) -> Tensor:
        logits = head.logits.float()
        if isinstance(head, DetailHead):
            values = _at_size(target, logits.shape[2:])
            return head.weight * _of_edges(logits, values, self._known(values))
        if isinstance(head, PointHead):
            return head.weight * self._one(logits, _at_points(target, head.points))
        return head.weight * self._one(logits, _at_size(target, logits.shape[2:]))

    def _one(self, logits: Tensor, values: Tensor) -> Tensor:
        known = self._known(values).to(logits.dtype)
        wanted = self._channels(values).to(logits.dtype)
        if self.labels.exclusive:
            shares = logits.softmax(1)
            entropy = cross_entropy(logits, wanted, self._weights(logits, 1), reduction="none")
            entropy = entropy[:, None]
            shares, wanted = shares[:, 1:], wanted[:, 1:]
        else:
            shares = logits.sigmoid()
            entropy = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            weights = self._weights(logits, 0).reshape(-1, *(1,) * (logits.ndim - 2))
            entropy = (entropy * weights).mean(1, keepdim=True)
        over = [0, *range(2, logits.ndim)]
        both = (shares * wanted * known).sum(over)
        either = ((shares + wanted) * known).sum(over)
        # A label that the batch does not show has no Dice to speak of; it is left to the entropy.
        shown = ((wanted * known).sum(over) > 0).to(logits.dtype) * self._weights(logits, 0)
        dice = ((2 * both + 1e-5) / (either + 1e-5) * shown).sum()
        # Where no label is shown at all, there is nothing to gain or lose by Dice.
        dice = dice / torch.where(shown.sum() > 0, shown.sum(), 1.0)
        entropy = (entropy * known).sum() / known.sum().clamp(min=1)
        return self.dice_weight * (1 - dice) + self.cross_entropy_weight * entropy

    def _weights(self, logits: Tensor, background: int) -> Tensor:
        """What each label counts (K), after the background where that is asked for."""
        counts = [self.label_weights.get(label.name, 1.0) for label in self.labels]
        return logits.new_tensor([*(1.0,) * background, *counts])

    def _known(self, values: Tensor) -> Tensor:
        """Which values (B, 1, *space) are to be learnt from."""
        if self.labels.ignore is None:
            return torch.ones_like(values, dtype=torch.bool)
        return values != self.labels.ignore

    def _channels(self, values: Tensor) -> Tensor:
        """Values (B, 1, *space) as the channels (B, K, *space) of a perfect answer."""
        if not self.labels.exclusive:
            return torch.cat(
                [torch.isin(values, values.new_tensor(label.values)) for label in self.labels], 1
            )
        table = values.new_zeros(int(max(self.labels.values)) + 1)
        for channel, label in enumerate(self.labels, 1):
            table[label.values[0]] = channel
        known = torch.where(values < len(table), values, 0)
        places = list(range(1, values.ndim))
        return one_hot(table[known][:, 0], self.labels.channels).permute(0, -1, *places[:-1])


def _at_size(target: Tensor, size: Sequence[int]) -> Tensor:
    """The target on a coarser grid over the same space, by nearest neighbour."""
    if tuple(target.shape[2:]) == tuple(size):
        return target
    return interpolate(target.double(), size=tuple(size), mode="nearest-exact").long()


def _at_points(target: Tensor, points: Tensor) -> Tensor:
    """The target's values (B, 1, N) at ``points (B, N, dims)``, by nearest neighbour."""
    batch, count, dims = points.shape
    places = points.reshape(batch, count, *(1,) * (dims - 1), dims)
    # Values of labels are whole numbers below 2**24, which float32 holds exactly.
    found = grid_sample(target.float(), places.float(), mode="nearest", align_corners=False)
    return found.reshape(batch, 1, count).round().long()


def edges(values: Tensor) -> Tensor:
    """Where neighbours, diagonal ones too, are not all of a voxel's own value; (B, 1, *space)."""
    # Values of labels are whole numbers below 2**24, which float32 holds exactly.
    numbers = values.float()
    return _highest(numbers) != -_highest(-numbers)


def details(values: Tensor) -> Tensor:
    """The edges that STDC learns: those of the grid, and those of every second voxel alone.

    The latter stand for their whole block of two along each axis. The paper's authors weigh edges
    seen at strides of 1, 2 and 4 by 0.6, 0.3 and 0.1 and take what is above 0.1, which those of
    4 are never by themselves.
    """
    found = edges(values)
    return found | _every_second(found)


def _of_edges(logits: Tensor, values: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice (smoothed by 1) of the details, each weighing 1.

    Left out is what was told by a voxel that is not ``known`` or has such a neighbour.
    """
    sure = _highest((~known).float()) == 0
    sure = sure & _every_second(sure)
    wanted, counted = details(values).to(logits.dtype), sure.to(logits.dtype)
    entropy = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    entropy = (entropy * counted).sum() / counted.sum().clamp(min=1)
    shares = logits.sigmoid() * counted
    both = (shares * wanted).sum()
    dice = (2 * both + 1) / (shares.sum() + (wanted * counted).sum() + 1)
    return entropy + 1 - dice


def _highest(numbers: Tensor) -> Tensor:
    """The highest of each voxel and its neighbours, diagonal ones too; (B, 1, *space)."""
    pool = max_pool2d if numbers.ndim == 4 else max_pool3d
    return pool(numbers, 3, stride=1, padding=1)


def _every_second(flags: Tensor) -> Tensor:
    """What every second voxel along each axis says, for all of its block; (B, 1, *space)."""
    for axis in range(2, flags.ndim):
        places = torch.arange(flags.shape[axis], device=flags.device) // 2 * 2
        flags = flags.index_select(axis, places)
    return flags
