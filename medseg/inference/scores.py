"""What a network said, and the decision made of it on the scan's own grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.errors import Caution
from medseg.image import Grid, LabelMap, Labels
from medseg.inference.rule import PROBABLE, Decision

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """Probabilities ``data (K, X, Y, Z)`` on the preprocessed grid, on their device.

    They are logits where ``decision`` says so. Exclusive labels: K is labels + 1, the background
    first, and each voxel sums to 1. Regions: one independent probability each.
    """

    data: Tensor
    grid: Grid
    labels: Labels
    cautions: tuple[Caution, ...] = ()
    decision: Decision = PROBABLE

    def __post_init__(self) -> None:
        wanted = (self.labels.channels, *self.grid.shape)
        if tuple(self.data.shape) != wanted:
            raise ValueError(f"scores are {wanted}, not {tuple(self.data.shape)}")

    @staticmethod
    def mean(several: Iterable[Scores]) -> Scores:
        """The mean of several models' scores; they share grid, labels and rule of decision."""
        scores = iter(several)
        first = next(scores)
        data, cautions, count = first.data, first.cautions, 1
        for one in scores:
            if one.grid != first.grid:
                raise ValueError("models that are averaged speak about one grid")
            if one.decision != first.decision:
                raise ValueError("models that are averaged have one rule of decision")
            data = data.add_(one.data.to(data.device)) if count > 1 else data + one.data
            cautions += one.cautions
            count += 1
        data = data / count if count > 1 else data
        return Scores(data, first.grid, first.labels, cautions, first.decision)

    def decided_on(self, grid: Grid) -> LabelMap:
        """The mask on another grid: probabilities are interpolated, then decided.

        The output is walked slab by slab, so that labels x voxels are never held at once.
        Among equal probabilities the label that comes first wins, the background before all;
        a region takes what reaches 0.5. Outside the scores' field of view is background.
        """
        from medseg.inference.decision import decide

        mask = decide(self.data, self.grid, grid, self.labels, self.decision)
        return LabelMap(mask, grid, self.labels)
