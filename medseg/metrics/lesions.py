"""The metric of lesions: how many were found, how many are none, and how well each was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from medseg.metrics.comparison import Comparison
from medseg.metrics.conventions import Metric, Values, empty
from medseg.metrics.instances import Connectivity, Matching, match, split


@dataclass(frozen=True)
class Lesions(Metric):
    """Lesions found, missed and invented, by components that are matched one to one.

    Components hang together by ``connectivity`` (6, 18 or 26 neighbours). A predicted and a
    reference one may match where their IoU is ``least_iou`` or more; the matching has the largest
    sum of IoU. Results: ``lesion_f1``, ``lesion_sensitivity``, ``lesion_precision``,
    ``false_positives`` and ``false_positive_ml`` (a number and ml a scan, 0 where nothing is
    predicted), ``lesion_dice`` (Dice of pairs, 0 for what has no partner, over all: as BraTS 2023
    counts, arXiv:2305.17033) and ``panoptic_quality`` (pairs of IoU above 0.5, Kirillov et al.
    2019, arXiv:1801.00868). Sensitivity has no value without a reference, precision none without
    a prediction.
    """

    connectivity: Connectivity = 26
    least_iou: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.least_iou <= 1:
            raise ValueError(f"least_iou is between 0 and 1, not {self.least_iou}")

    @property
    def agreed(self) -> Values:
        """Every lesion found and none invented."""
        shares = ("f1", "sensitivity", "precision", "dice")
        return {
            **{f"lesion_{name}": 1.0 for name in shares},
            "panoptic_quality": 1.0,
            "false_positives": 0.0,
            "false_positive_ml": 0.0,
        }

    def undefined(self) -> Values:
        """Without any lesion there is still a number of false ones."""
        return {**super().undefined(), "false_positives": 0.0, "false_positive_ml": 0.0}

    def values(self, comparison: Comparison, label: str) -> Values:
        """All results of a label that one of the masks has."""
        found = self.matching(comparison, label)
        why = empty(comparison.counts[label])
        wrong = found.unmatched()
        hits = len(found.pairs)
        known = len(found.wanted), len(found.predicted)
        return {
            "lesion_f1": found.f1(),
            "lesion_sensitivity": hits / known[0] if why != "reference_empty" else why,
            "lesion_precision": hits / known[1] if why != "prediction_empty" else why,
            "lesion_dice": found.dice(),
            "panoptic_quality": found.panoptic(),
            "false_positives": float(len(wrong)),
            "false_positive_ml": float(wrong.sum()) * comparison.reference.grid.voxel_ml,
        }

    def matching(self, comparison: Comparison, label: str) -> Matching:
        """The lesions of both masks and which belong together."""
        crop = comparison.crop(label)
        assert crop is not None  # one of the masks is not empty
        mine, theirs = (
            split(part > 0, self.connectivity) for part in (crop.prediction, crop.reference)
        )
        return match(mine, theirs, self.least_iou)


@dataclass(frozen=True)
class Instances:
    """A line of ``instances.csv`` for each component of ``labels`` (None: all of them).

    ``connectivity`` and ``least_iou`` are those of ``lesions``; where there is a reference its
    lesions are listed too, each with whether it was found. ``masks`` writes an instance mask a
    study into ``instances/``, whose values are numbers and no labels.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: tuple[str, ...] | None = None
    connectivity: Connectivity = 26
    least_iou: float = 0.1
    masks: bool = False

    def __post_init__(self) -> None:
        self.rule  # noqa: B018 - raises now for an impossible least_iou
        if self.labels is not None and not self.labels:
            raise ValueError("labels is left out for all labels, or names at least one")

    @property
    def rule(self) -> Lesions:
        """How lesions are split and matched."""
        return Lesions(connectivity=self.connectivity, least_iou=self.least_iou)
