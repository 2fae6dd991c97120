"""Whether probabilities mean what they say: error, score and curve of a binary forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Reliability:
    """Forecasts sorted into bins of equal width: how many, what was said, and what came true.

    All are (B,); ``forecast`` and ``observed`` are NaN-free: empty bins are left out.
    """

    count: NDArray[np.int64]
    forecast: NDArray[np.float64]
    observed: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap of the bins, by how many forecasts they hold.

        (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602; 0 is best.)
        """
        gaps = np.abs(self.forecast - self.observed)
        return float(np.average(gaps, weights=self.count))

    @property
    def largest_gap(self) -> float:
        """Maximum calibration error: the largest gap of a bin."""
        return float(np.abs(self.forecast - self.observed).max())


def reliability(probabilities: ArrayLike, truth: ArrayLike, bins: int = 10) -> Reliability:
    """The curve of probabilities of one label, of any shape, against its mask of the same shape.

    (DeGroot and Fienberg 1983, doi:10.2307/2987588.) Bins are [0, 1/B), ..., the last closed.
    Raises ValueError for other shapes, values outside 0 to 1, or nothing at all.
    """
    said, true = _checked(probabilities, truth)
    if bins < 1:
        raise ValueError(f"bins are at least 1, not {bins}")
    place = np.minimum((said * bins).astype(np.intp), bins - 1)
    count = np.bincount(place, minlength=bins)
    there = count > 0
    forecast = np.bincount(place, said, bins)[there] / count[there]
    observed = np.bincount(place, true, bins)[there] / count[there]
    return Reliability(count[there], forecast, observed)


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Brier score: the mean squared gap between probability and truth; 0 is best.

    (Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.) Raises as ``reliability``.
    """
    said, true = _checked(probabilities, truth)
    return float(((said - true) ** 2).mean())


def _checked(
    probabilities: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    said, true = np.asarray(probabilities, np.float64), np.asarray(truth)
    if said.shape != true.shape or not said.size:
        raise ValueError(f"one probability a voxel, not {said.shape} for {true.shape}")
    if not (said.min() >= 0 and said.max() <= 1):
        raise ValueError("probabilities lie between 0 and 1")
    return said.ravel(), (true != 0).astype(np.float64).ravel()
