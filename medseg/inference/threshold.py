"""A step without a network: baselines and body masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Labels, Volume
from medseg.inference.scores import Scores
from medseg.step import Step


@dataclass(frozen=True)
class Threshold(Step):
    """One label where a channel's intensity lies in a range, ends included.

    ``minimum`` and ``maximum`` are in the units of the preprocessed image (HU for a CT that
    was not scaled). ``method: otsu`` (Otsu 1979, doi:10.1109/TSMC.1979.4310076) takes what is
    above each scan's own threshold; in a constant scan nothing is. The pipeline has exactly one
    label.
    """

    minimum: float | None = None
    maximum: float | None = None
    method: Literal["range", "otsu"] = "range"
    channel: int = 0

    def __post_init__(self) -> None:
        if self.method == "range" and self.minimum is None and self.maximum is None:
            raise ValueError("threshold needs minimum, maximum or 'method: otsu'")
        if self.method == "otsu" and self.minimum is not None:
            raise ValueError("otsu finds the minimum itself; leave 'minimum' out")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        if self.channel < 0:
            raise ValueError(f"channel counts from 0, not {self.channel}")

    def __call__(self, volume: Volume, labels: Labels) -> Scores:
        """1 inside the range and 0 outside, as probabilities of the only label."""
        import torch

        if len(labels) != 1:
            raise ValueError(f"threshold decides one label, not {labels.names}")
        if self.channel >= volume.channels:
            raise StudyError(
                "E_NDIM", f"threshold reads channel {self.channel} of {volume.channels}"
            )
        image = volume.data[self.channel]
        chosen = np.ones(image.shape, bool)
        if self.method == "otsu":
            chosen &= image > _otsu(image)
        if self.minimum is not None:
            chosen &= image >= self.minimum
        if self.maximum is not None:
            chosen &= image <= self.maximum
        inside = torch.from_numpy(chosen.astype(np.float32))
        data = torch.stack([1 - inside, inside]) if labels.exclusive else inside[None]
        return Scores(data, volume.grid, labels)


def _otsu(image: NDArray[np.float32]) -> float:
    from skimage.filters import threshold_otsu

    # One row of voxels, or a volume of three or four slices would be taken for a colour picture.
    return float(threshold_otsu(image.ravel()))
