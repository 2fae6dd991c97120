"""Dice and IoU per label and region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg.metrics.comparison import Comparison, Overlap
from medseg.metrics.measure import Measure
from medseg.step import Step


@dataclass(frozen=True)
class _OverlapMetric(Step, ABC):
    """A share of voxels; ``both_empty`` says what it is where neither mask has the label."""

    name: ClassVar[str]

    both_empty: Literal["exclude", "one"] = "exclude"

    @abstractmethod
    def _value(self, counts: Overlap) -> float:
        """The metric where at least one mask has the label."""

    def __call__(self, comparison: Comparison) -> tuple[Measure, ...]:
        """One measure a label; without a value, and why, where both are empty."""
        return tuple(self._measure(name, counts) for name, counts in comparison.counts.items())

    def _measure(self, label: str, counts: Overlap) -> Measure:
        if counts.prediction or counts.reference:
            return Measure(label, self.name, self._value(counts))
        if self.both_empty == "one":
            return Measure(label, self.name, 1.0)
        return Measure(label, self.name, None, "both_empty")


@dataclass(frozen=True)
class Dice(_OverlapMetric):
    """Dice coefficient 2|A and B| / (|A| + |B|) (Dice 1945, doi:10.2307/1932409); 1 is best."""

    name: ClassVar[str] = "dice"

    def _value(self, counts: Overlap) -> float:
        return 2 * counts.both / (counts.prediction + counts.reference)


@dataclass(frozen=True)
class Iou(_OverlapMetric):
    """Intersection over union |A and B| / |A or B| (Jaccard 1912); 1 is best."""

    name: ClassVar[str] = "iou"

    def _value(self, counts: Overlap) -> float:
        return counts.both / (counts.prediction + counts.reference - counts.both)
