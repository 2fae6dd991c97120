"""What training makes small: Dice plus cross-entropy over labels or regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    interpolate,
    one_hot,
)

from medseg.image import Labels


@dataclass(frozen=True)
class Objective:
    """Soft Dice over the batch (Milletari et al. 2016) plus cross-entropy.

    Dice is that of the labels the batch shows. Voxels with the ignore value count for neither.
    Coarser logits meet the target at their own size, and weigh half as much as the next finer.
    """

    labels: Labels
    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0

    def __call__(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of logits (B, K, *space), or a list of them, against values (B, 1, *space)."""
        heads = [logits] if isinstance(logits, Tensor) else list(logits)
        weights = [0.5**place for place in range(len(heads))]
        total = heads[0].new_zeros((), dtype=torch.float32)
        for weight, head in zip(weights, heads, strict=True):
            total = total + weight * self._one(head.float(), _at_size(target, head.shape[2:]))
        return total / sum(weights)

    def _one(self, logits: Tensor, values: Tensor) -> Tensor:
        known = (
            torch.ones_like(values, dtype=logits.dtype)
            if self.labels.ignore is None
            else (values != self.labels.ignore).to(logits.dtype)
        )
        wanted = self._channels(values).to(logits.dtype)
        if self.labels.exclusive:
            shares = logits.softmax(1)
            entropy = cross_entropy(logits, wanted, reduction="none")[:, None]
            shares, wanted = shares[:, 1:], wanted[:, 1:]
        else:
            shares = logits.sigmoid()
            entropy = binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(
                1, keepdim=True
            )
        over = [0, *range(2, logits.ndim)]
        both = (shares * wanted * known).sum(over)
        either = ((shares + wanted) * known).sum(over)
        # A label that the batch does not show has no Dice to speak of; it is left to the entropy.
        shown = ((wanted * known).sum(over) > 0).to(logits.dtype)
        dice = ((2 * both + 1e-5) / (either + 1e-5) * shown).sum() / shown.sum().clamp(min=1)
        entropy = (entropy * known).sum() / known.sum().clamp(min=1)
        return self.dice_weight * (1 - dice) + self.cross_entropy_weight * entropy

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
