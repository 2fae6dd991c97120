"""Floor 3: from a preprocessed volume to probabilities of every label."""

from typing import Any

from medseg.inference.scores import Scores
from medseg.inference.sliding_window import Slices, SlidingWindow
from medseg.inference.threshold import Threshold

INFERENCE: dict[str, type[Any]] = {
    "sliding_window": SlidingWindow,
    "slices": Slices,
    "threshold": Threshold,
}

__all__ = ["INFERENCE", "Scores", "Slices", "SlidingWindow", "Threshold"]
