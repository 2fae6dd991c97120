"""Shares of voxels per label and region, and differences of volume: read from counts alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from medseg.metrics.agreement import cohen_kappa
from medseg.metrics.comparison import Comparison, Overlap
from medseg.metrics.conventions import Metric, Values
from medseg.metrics.measure import Reason


@dataclass(frozen=True)
class _Share(Metric):
    """A share of voxels; 1 is best."""

    name: ClassVar[str]

    @property
    def agreed(self) -> Values:
        """One result, 1 where masks agree."""
        return {self.name: 1.0}

    @abstractmethod
    def _value(self, counts: Overlap) -> float | Reason:
        """The metric where at least one mask has the label."""

    def values(self, comparison: Comparison, label: str) -> Values:
        """The share, or why there is none."""
        return {self.name: self._value(comparison.counts[label])}


@dataclass(frozen=True)
class Dice(_Share):
    """Dice coefficient 2|A and B| / (|A| + |B|) (Dice 1945, doi:10.2307/1932409); 1 is best."""

    name: ClassVar[str] = "dice"
    symmetric: ClassVar[bool] = True

    def _value(self, counts: Overlap) -> float:
        return 2 * counts.both / (counts.prediction + counts.reference)


@dataclass(frozen=True)
class Iou(_Share):
    """Intersection over union |A and B| / |A or B| (Jaccard 1912); 1 is best."""

    name: ClassVar[str] = "iou"
    symmetric: ClassVar[bool] = True

    def _value(self, counts: Overlap) -> float:
        return counts.both / (counts.prediction + counts.reference - counts.both)


@dataclass(frozen=True)
class Sensitivity(_Share):
    """The share of the reference that was found, TP / (TP + FN); also called recall.

    (Yerushalmy 1947, doi:10.2307/4586294.) Without a value where the reference is empty.
    """

    name: ClassVar[str] = "sensitivity"

    def _value(self, counts: Overlap) -> float | Reason:
        return counts.both / counts.reference if counts.reference else "reference_empty"


@dataclass(frozen=True)
class Precision(_Share):
    """The share of what was predicted that is right, TP / (TP + FP).

    Also called positive predictive value (Vecchio 1966, doi:10.1056/NEJM196605262742104). Without
    a value where the prediction is empty.
    """

    name: ClassVar[str] = "precision"

    def _value(self, counts: Overlap) -> float | Reason:
        return counts.both / counts.prediction if counts.prediction else "prediction_empty"


@dataclass(frozen=True)
class Specificity(Metric):
    """The share of what is not the label that was left alone, TN / (TN + FP).

    (Yerushalmy 1947, doi:10.2307/4586294.) It grows with the field of view: near 1 for every small
    structure, it says little. Without a value where the reference fills the scan.
    """

    @property
    def agreed(self) -> Values:
        """One result, 1 where masks agree."""
        return {"specificity": 1.0}

    def values(self, comparison: Comparison, label: str) -> Values:
        """The share of the voxels outside the reference that the prediction leaves out."""
        counts = comparison.counts[label]
        outside = comparison.voxels - counts.reference
        wrong = counts.prediction - counts.both
        return {"specificity": 1 - wrong / outside if outside else "reference_full"}


@dataclass(frozen=True)
class Kappa(Metric):
    """Cohen's kappa of the voxels: agreement beyond what two that know no voxel would have.

    (Cohen 1960, doi:10.1177/001316446002000104.) Over all voxels of the scan, 1 is best; of a
    small structure it is nearly Dice. Without a value where both masks fill the scan.
    """

    symmetric: ClassVar[bool] = True

    @property
    def agreed(self) -> Values:
        """One result, 1 where masks agree."""
        return {"kappa": 1.0}

    def values(self, comparison: Comparison, label: str) -> Values:
        """The kappa of label or not, by two masks."""
        counts, total = comparison.counts[label], comparison.voxels
        mine, theirs = counts.prediction - counts.both, counts.reference - counts.both
        neither = total - counts.both - mine - theirs
        found = cohen_kappa([[counts.both, mine], [theirs, neither]])
        return {"kappa": "reference_full" if found is None else found}


@dataclass(frozen=True)
class VolumeDifference(Metric):
    """Volume of the prediction less that of the reference, in ml and in % of the reference's.

    Above 0 the prediction is too large. The share has no value where the reference is empty;
    voxels to ignore count on neither side. (Heimann et al. 2009, doi:10.1109/TMI.2009.2013851,
    take its absolute value.)
    """

    @property
    def agreed(self) -> Values:
        """No difference."""
        return {"volume_difference_ml": 0.0, "volume_difference_percent": 0.0}

    def values(self, comparison: Comparison, label: str) -> Values:
        """Both differences of a label."""
        counts = comparison.counts[label]
        more = counts.prediction - counts.reference
        ml = more * comparison.reference.grid.voxel_ml
        if not counts.reference:
            return {"volume_difference_ml": ml, "volume_difference_percent": "reference_empty"}
        percent = 100 * more / counts.reference
        return {"volume_difference_ml": ml, "volume_difference_percent": percent}
