"""Floor 2: a prediction and its reference to numbers per label."""

from typing import Any

from medseg.metrics.comparison import Comparison, Overlap
from medseg.metrics.measure import Measure, summarise
from medseg.metrics.overlap import Dice, Iou

METRICS: dict[str, type[Any]] = {"dice": Dice, "iou": Iou}

__all__ = ["METRICS", "Comparison", "Dice", "Iou", "Measure", "Overlap", "summarise"]
