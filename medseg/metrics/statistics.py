"""What many studies say together: intervals, paired comparisons, agreement of volumes.

Studies of one patient are alike, so that intervals draw patients and not studies (Davison and
Hinkley 1997, chapter 3). Intervals are percentiles of ``RESAMPLES`` bootstrap means (Efron 1979,
doi:10.1214/aos/1176344552), drawn from a fixed seed: the same numbers give the same interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 4000
_LEVEL = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True)
class Description:
    """Defined values of one label and metric; ``low`` and ``high`` bound the mean by 95 %.

    ``sd`` is that of a sample (n - 1). What too few values cannot say is None.
    """

    n: int
    patients: int
    mean: float | None
    median: float | None
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The first of two runs less the second, over studies where both have a value.

    ``p`` is Wilcoxon's signed-rank test, two-sided, zeros split between the signs (Pratt 1959);
    None for fewer than two patients.
    """

    n: int
    patients: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class BlandAltman:
    """Differences of pairs of volumes: their mean, SD, and the limits that 95 % keep within.

    (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8.) Limits are mean -+ 1.96 SD.
    """

    n: int
    bias: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Icc:
    """ICC(2,1): two-way random effects, absolute agreement, one rating, with its 95 % interval.

    (Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420.)
    """

    n: int
    value: float
    low: float
    high: float


def describe(values: ArrayLike, patients: Sequence[Hashable] | None = None) -> Description:
    """Mean, median, SD and the interval of the mean of values (N,), clustered by patient."""
    found = np.asarray(values, dtype=np.float64)
    groups = _numbered(patients, len(found))
    count = len(set(groups.tolist()))
    if not len(found):
        return Description(0, 0, None, None, None, None, None)
    low, high = bootstrap_interval(found, groups.tolist()) or (None, None)
    spread = float(found.std(ddof=1)) if len(found) > 1 else None
    mean, median = float(found.mean()), float(np.median(found))
    return Description(len(found), count, mean, median, spread, low, high)


def bootstrap_interval(
    values: ArrayLike, patients: Sequence[Hashable] | None = None, seed: int = 0
) -> Interval | None:
    """The 95 % interval of the mean of values (N,), or None for fewer than two patients."""
    found = np.asarray(values, dtype=np.float64)
    return ratio_interval(found, np.ones(len(found)), patients, seed)


def ratio_interval(
    above: ArrayLike,
    below: ArrayLike,
    patients: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Interval | None:
    """The 95 % interval of the sum of ``above (N,)`` over that of ``below (N,)``.

    None for fewer than two patients, or where draws have nothing below.
    """
    top, bottom = (np.asarray(one, dtype=np.float64) for one in (above, below))
    groups = _numbered(patients, len(top))
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < 2:
        return None
    sums = np.stack([np.bincount(groups, one, count) for one in (top, bottom)], 1)
    drawn = _draws(count, seed) @ sums
    if not drawn[:, 1].all():
        return None
    edge = 50 * (1 - _LEVEL)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], (edge, 100 - edge))
    return float(low), float(high)


@lru_cache(maxsize=4)
def _draws(count: int, seed: int) -> NDArray[np.float64]:
    """How often each of ``count`` patients is drawn (RESAMPLES, count)."""
    chance = np.random.default_rng(seed)
    return chance.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)


def compare(
    one: ArrayLike, other: ArrayLike, patients: Sequence[Hashable] | None = None
) -> Difference:
    """Two runs over the same studies (N,), in the same order."""
    apart = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    groups = _numbered(patients, len(apart))
    if not len(apart):
        return Difference(0, 0, None, None, None, None)
    count = int(groups.max()) + 1
    low, high = bootstrap_interval(apart, groups.tolist()) or (None, None)
    # A test takes its values for independent, so that a patient counts once.
    of_patient = np.bincount(groups, apart) / np.bincount(groups)
    return Difference(len(apart), count, float(apart.mean()), low, high, _wilcoxon(of_patient))


def _wilcoxon(apart: NDArray[np.float64]) -> float | None:
    from scipy.stats import wilcoxon

    if len(apart) < 2:
        return None
    return 1.0 if not apart.any() else float(wilcoxon(apart, zero_method="zsplit").pvalue)


def holm(p_values: Mapping[Any, float | None]) -> dict[Any, float | None]:
    """p-values of a family corrected by Holm (1979, doi:10.2307/4615733); None stays None."""
    known = sorted((p, key) for key, p in enumerate(p_values.values()) if p is not None)
    corrected: dict[int, float] = {}
    least = 0.0
    for place, (p, key) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - place)))
        corrected[key] = least
    return {name: corrected.get(key) for key, name in enumerate(p_values)}


def bland_altman(one: ArrayLike, other: ArrayLike) -> BlandAltman | None:
    """The first less the second (N,); None for fewer than two pairs."""
    apart = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    if len(apart) < 2:
        return None
    bias, spread = float(apart.mean()), float(apart.std(ddof=1))
    return BlandAltman(len(apart), bias, spread, bias - 1.96 * spread, bias + 1.96 * spread)


def icc(ratings: ArrayLike) -> Icc | None:
    """ICC(2,1) of ratings (N subjects, K raters); None for fewer than two of either.

    None too where no two ratings differ.
    """
    table = np.asarray(ratings, dtype=np.float64)
    n, k = table.shape
    if n < 2 or k < 2 or np.ptp(table) == 0:
        return None
    rows, columns, error = _mean_squares(table)
    value = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    low, high = _icc_interval((n, k), value, (rows, columns, error))
    return Icc(n, value, low, high)


def _mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares between subjects, between raters, and of what is left."""
    n, k = table.shape
    mean = table.mean()
    rows = k * float(((table.mean(1) - mean) ** 2).sum())
    columns = n * float(((table.mean(0) - mean) ** 2).sum())
    rest = max(0.0, float(((table - mean) ** 2).sum()) - rows - columns)
    return rows / (n - 1), columns / (k - 1), rest / ((n - 1) * (k - 1))


def _icc_interval(
    shape: tuple[int, int], value: float, squares: tuple[float, float, float]
) -> Interval:
    """Shrout and Fleiss's interval, by Satterthwaite's degrees of freedom."""
    from scipy.stats import f

    (n, k), (rows, columns, error) = shape, squares
    if error == 0 and columns == 0:
        return value, value
    part = k * value * columns + error * (n * (1 + (k - 1) * value) - k * value)
    split = (k * value * columns) ** 2 / (k - 1)
    split += (error * (n * (1 + (k - 1) * value) - k * value)) ** 2 / ((n - 1) * (k - 1))
    freedom = part**2 / split
    edge = (1 + _LEVEL) / 2
    upper, lower = f.ppf(edge, n - 1, freedom), f.ppf(edge, freedom, n - 1)
    rest = k * columns + (k * n - k - n) * error
    low = n * (rows - upper * error) / (upper * rest + n * rows)
    high = n * (lower * rows - error) / (rest + n * lower * rows)
    return float(low), float(high)


def _numbered(patients: Sequence[Hashable] | None, count: int) -> NDArray[np.intp]:
    """A number for each value's patient; without patients every value is one of its own."""
    if patients is None:
        return np.arange(count)
    if len(patients) != count:
        raise ValueError(f"patients are as many as values: {count}, not {len(patients)}")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(one, len(known)) for one in patients], np.intp)
