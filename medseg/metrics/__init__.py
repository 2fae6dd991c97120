"""Floor 2: a prediction and its reference to numbers per label."""

from typing import Any

from medseg.metrics.calibration import Probabilities
from medseg.metrics.comparison import Comparison, Overlap
from medseg.metrics.conventions import Metric
from medseg.metrics.distance import Assd, BoundaryIou, CentroidDistance, Hd, Hd95, Msd, Nsd
from medseg.metrics.lesions import Instances, Lesions
from medseg.metrics.measure import Measure, summarise
from medseg.metrics.overlap import (
    Dice,
    Iou,
    Kappa,
    Precision,
    Sensitivity,
    Specificity,
    VolumeDifference,
)
from medseg.metrics.quality import Quality

METRICS: dict[str, type[Any]] = {
    "dice": Dice,
    "iou": Iou,
    "sensitivity": Sensitivity,
    "specificity": Specificity,
    "precision": Precision,
    "kappa": Kappa,
    "volume_difference": VolumeDifference,
    "hd": Hd,
    "hd95": Hd95,
    "assd": Assd,
    "msd": Msd,
    "nsd": Nsd,
    "centroid_distance": CentroidDistance,
    "boundary_iou": BoundaryIou,
    "lesions": Lesions,
}

__all__ = [
    "METRICS",
    "Assd",
    "BoundaryIou",
    "CentroidDistance",
    "Comparison",
    "Dice",
    "Hd",
    "Hd95",
    "Instances",
    "Iou",
    "Kappa",
    "Lesions",
    "Measure",
    "Metric",
    "Msd",
    "Nsd",
    "Overlap",
    "Precision",
    "Probabilities",
    "Quality",
    "Sensitivity",
    "Specificity",
    "VolumeDifference",
    "summarise",
]
