"""Whether probabilities mean what they say: error, score and curve of a binary forecast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Probabilities:
    """Keep what networks say of a scan until it is judged, and tell what it is worth.

    The mean probability of each label's voxels is put into the study's record, that of each
    instance into instances.csv, and labels below ``quality.confidence`` are flagged. With a
    reference there are ``ece`` (the expected calibration error, of ``bins`` of equal width,
    Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602) and ``brier`` (Brier 1950) of each label in
    the box around it in either mask, ``margin_mm`` wider on each side (null: the whole scan).
    ``entropy`` writes a map of it, in bits, into entropy/. All labels' probabilities on the
    preprocessed grid are then held at once, so that a study takes more memory.
    """

    bins: int = 10
    margin_mm: float | None = 10.0
    entropy: bool = False

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins are at least 1, not {self.bins}")
        if self.margin_mm is not None and self.margin_mm < 0:
            raise ValueError(f"margin_mm is 0 or more, not {self.margin_mm}")


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts in bins of equal width, as sums (B,): of parts and of studies they add up.

    ``count`` is how many, ``said`` the sum of probabilities, ``true`` how many came true;
    ``squares`` is the sum of all squared gaps. Bins are [0, 1/B), ..., the last one closed.
    """

    count: NDArray[np.int64]
    said: NDArray[np.float64]
    true: NDArray[np.float64]
    squares: float

    @classmethod
    def of(cls, probabilities: ArrayLike, truth: ArrayLike, bins: int = 10) -> Forecasts:
        """Probabilities of one label, of any shape, beside its mask of the same shape.

        Raises ValueError for other shapes, or values outside 0 to 1.
        """
        said, true = _checked(probabilities, truth)
        if bins < 1:
            raise ValueError(f"bins are at least 1, not {bins}")
        place = np.minimum((said * bins).astype(np.intp), bins - 1)
        return cls(
            np.bincount(place, minlength=bins).astype(np.int64),
            np.bincount(place, said, bins).astype(np.float64),
            np.bincount(place, true, bins).astype(np.float64),
            float(((said - true) ** 2).sum()),
        )

    @classmethod
    def total(cls, parts: Iterable[Forecasts]) -> Forecasts | None:
        """All parts together; None where there are none."""
        known = list(parts)
        if not known:
            return None
        return cls(
            np.sum([one.count for one in known], axis=0),
            np.sum([one.said for one in known], axis=0),
            np.sum([one.true for one in known], axis=0),
            sum(one.squares for one in known),
        )

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Forecasts:
        """What ``as_json`` told."""
        count = np.asarray(told["count"], np.int64)
        said, true = (np.asarray(told[name], np.float64) for name in ("said", "true"))
        return cls(count, said, true, float(told["squares"]))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "count": self.count.tolist(),
            "said": [round(one, 6) for one in self.said.tolist()],
            "true": self.true.tolist(),
            "squares": round(self.squares, 6),
        }

    @property
    def brier(self) -> float:
        """Brier score: the mean squared gap between probability and truth; 0 is best.

        (Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.)
        """
        return self.squares / int(self.count.sum())

    @property
    def curve(self) -> Reliability:
        """The reliability curve, without bins that hold nothing."""
        there = self.count > 0
        count = self.count[there]
        return Reliability(count, self.said[there] / count, self.true[there] / count)


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
    return Forecasts.of(probabilities, truth, bins).curve


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Brier score of probabilities of one label against its mask. Raises as ``reliability``."""
    return Forecasts.of(probabilities, truth, 1).brier


def _checked(
    probabilities: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    said, true = np.asarray(probabilities, np.float64), np.asarray(truth)
    if said.shape != true.shape or not said.size:
        raise ValueError(f"one probability a voxel, not {said.shape} for {true.shape}")
    if not (said.min() >= 0 and said.max() <= 1):
        raise ValueError("probabilities lie between 0 and 1")
    return said.ravel(), (true != 0).astype(np.float64).ravel()
