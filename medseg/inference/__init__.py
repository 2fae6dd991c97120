"""Floor 3: from a preprocessed volume to probabilities of every label, and better ones."""

from typing import Any

from medseg.inference.asked import EVERYTHING, Asked
from medseg.inference.dense_crf import DenseCrf
from medseg.inference.limits import Limits
from medseg.inference.scores import Scores
from medseg.inference.sliding_window import Slices, SlidingWindow
from medseg.inference.threshold import Threshold

INFERENCE: dict[str, type[Any]] = {
    "sliding_window": SlidingWindow,
    "slices": Slices,
    "threshold": Threshold,
}
"""Steps from an image to scores."""

REFINE: dict[str, type[Any]] = {
    "dense_crf": DenseCrf,
}
"""Steps from scores, and the image they are of, to better scores."""

__all__ = [
    "EVERYTHING",
    "INFERENCE",
    "REFINE",
    "Asked",
    "DenseCrf",
    "Limits",
    "Scores",
    "Slices",
    "SlidingWindow",
    "Threshold",
]
