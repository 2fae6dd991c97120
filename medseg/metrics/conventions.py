"""What a metric says where a mask is empty: one place for all of them.

``both_empty: exclude`` leaves a label without a value where neither mask has it; ``one`` takes the
two for agreed: 1 for a share, 0 for a distance or a difference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from medseg.metrics.comparison import Comparison, Overlap
from medseg.metrics.measure import BothEmpty, Measure, Reason
from medseg.step import Step

Values = dict[str, float | Reason]
"""What a metric found of one label: by its name in the results, a value or why there is none."""


@dataclass(frozen=True)
class Metric(Step, ABC):
    """A metric of each label, or several that are found together."""

    both_empty: BothEmpty = "exclude"

    @property
    @abstractmethod
    def agreed(self) -> Values:
        """The names of the results and what each is where both masks agree."""

    @abstractmethod
    def values(self, comparison: Comparison, label: str) -> Values:
        """The results of a label that at least one of the masks has."""

    def __call__(self, comparison: Comparison) -> tuple[Measure, ...]:
        """The measures of every label, in the order of the table."""
        return tuple(
            one for label in comparison.labels for one in self._measures(comparison, label)
        )

    def _measures(self, comparison: Comparison, label: str) -> Iterator[Measure]:
        found = self._found(comparison, label)
        for name, value in found.items():
            if isinstance(value, str):
                yield Measure(label, name, None, value)
            else:
                yield Measure(label, name, float(value))

    def _found(self, comparison: Comparison, label: str) -> Values:
        if empty(comparison.counts[label]) != "both_empty":
            return self.values(comparison, label)
        return self.agreed if self.both_empty == "one" else dict.fromkeys(self.agreed, "both_empty")


def empty(counts: Overlap) -> Reason | None:
    """Which of the masks has nothing of a label."""
    if not counts.prediction:
        return "prediction_empty" if counts.reference else "both_empty"
    return None if counts.reference else "reference_empty"
