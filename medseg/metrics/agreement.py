"""Several readers of the same scan: their consensus, their kappa, and the model among them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.image import LabelMap
from medseg.image.box import box_around
from medseg.metrics.statistics import ratio_interval

Consensus = Literal["majority", "staple"]
Answer = Literal["yes", "no", "not told apart"]


@dataclass(frozen=True)
class AmongReaders:
    """Whether a model agrees with the readers as they agree with each other.

    ``index`` is Williams's: the mean agreement of the model with readers over that of readers with
    readers (Williams 1976, doi:10.2307/2529750; Chalana and Kim 1997, doi:10.1109/42.640756),
    with its 95 % interval. ``within`` is ``yes`` where the interval lies at 1 or above, ``no``
    where it lies below, else the two cannot be told apart; None for too few patients.
    """

    n: int
    model: float
    readers: float
    index: float | None
    low: float | None
    high: float | None
    within: Answer | None


def among_readers(
    model: ArrayLike, readers: ArrayLike, patients: Sequence[Hashable] | None = None
) -> AmongReaders | None:
    """By study (N,), the model's mean agreement with readers and that of pairs of readers.

    Agreement is a share such as Dice, 1 the best. None where there is no study.
    """
    one, other = (np.asarray(values, dtype=np.float64) for values in (model, readers))
    if not len(one):
        return None
    index = float(one.sum() / other.sum()) if other.any() else None
    bounds = ratio_interval(one, other, patients)
    if bounds is None:
        means = float(one.mean()), float(other.mean())
        return AmongReaders(len(one), *means, index, None, None, None)
    within: Answer = "yes" if bounds[0] >= 1 else "no" if bounds[1] < 1 else "not told apart"
    means = float(one.mean()), float(other.mean())
    return AmongReaders(len(one), *means, index, *bounds, within)


def consensus(readers: Sequence[LabelMap], how: Consensus) -> LabelMap:
    """One mask of several on one grid, by value.

    ``majority``: the value that more than half of the readers wrote, else background.
    ``staple``: the value that is likeliest by how reliable each reader turns out to be (Warfield
    et al. 2004, doi:10.1109/TMI.2004.828354; for several labels Rohlfing et al. 2004); background
    where two are equally likely. It is found in the box around all that any reader marked, as
    empty space would make every reader look reliable.
    """
    first = readers[0]
    shown = np.zeros(first.data.shape, bool)
    for mask in readers:
        shown |= mask.data > 0
    box = box_around(shown, (1, 1, 1))
    result = np.zeros_like(first.data)
    if box is not None:
        inner = tuple(slice(a, b) for a, b in zip(*box, strict=True))
        parts = [np.ascontiguousarray(mask.data[inner]) for mask in readers]
        result[inner] = _majority(parts) if how == "majority" else _staple(parts)
    return first.with_data(result)


def _majority(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    result = np.zeros_like(parts[0])
    for value in np.unique(np.concatenate([np.unique(part) for part in parts])):
        votes = sum((part == value).astype(np.int16) for part in parts)
        result[2 * np.asarray(votes) > len(parts)] = value
    return result


def _staple(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    import SimpleITK

    images = [SimpleITK.GetImageFromArray(part) for part in parts]
    found = SimpleITK.MultiLabelSTAPLE(images, 0)
    return np.asarray(SimpleITK.GetArrayFromImage(found)).astype(parts[0].dtype)


def cohen_kappa(table: ArrayLike) -> float | None:
    """Cohen's kappa of a table (K, K) of how often two raters chose each pair of categories.

    (Cohen 1960, doi:10.1177/001316446002000104.) None where chance alone makes them agree.
    """
    counts = np.asarray(table, dtype=np.float64)
    total = counts.sum()
    if total == 0:
        return None
    seen = np.trace(counts) / total
    chance = float(counts.sum(0) @ counts.sum(1)) / total**2
    return None if chance >= 1 else float((seen - chance) / (1 - chance))


def fleiss_kappa(votes: ArrayLike) -> float | None:
    """Fleiss's kappa of votes (N subjects, K categories), equally many for each subject.

    (Fleiss 1971, doi:10.1037/h0031619.) None where chance alone makes raters agree. Raises
    ValueError where subjects have different numbers of votes, or fewer than two.
    """
    counts = np.asarray(votes, dtype=np.float64)
    raters = counts.sum(1)
    if len(counts) == 0 or raters[0] < 2 or (raters != raters[0]).any():
        raise ValueError("fleiss' kappa wants the same number of votes, two or more, of each")
    n = raters[0]
    seen = float(((counts**2).sum(1) - n).mean() / (n * (n - 1)))
    chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return None if chance >= 1 else (seen - chance) / (1 - chance)


def voxel_votes(readers: Sequence[LabelMap], label: str) -> NDArray[np.int64] | None:
    """How many voxels (R + 1,) of a label's common box have 0, 1, ... R readers for it.

    The box is around what any reader marked; None where none marked anything.
    """
    votes = np.zeros(readers[0].data.shape, np.int16)
    for mask in readers:
        votes += mask.where(label)
    box = box_around(votes > 0, (1, 1, 1))
    if box is None:
        return None
    inner = votes[tuple(slice(a, b) for a, b in zip(*box, strict=True))]
    return np.bincount(inner.ravel(), minlength=len(readers) + 1)


def kappa_of_votes(votes: ArrayLike) -> float | None:
    """Fleiss's kappa of voxels counted by how many of R readers marked them (R + 1,)."""
    often = np.asarray(votes, dtype=np.float64)
    n = len(often) - 1
    marked = np.arange(n + 1)
    pairs = marked * (marked - 1) + (n - marked) * (n - marked - 1)
    seen = float((often * pairs).sum() / (n * (n - 1) * often.sum()))
    share = float((often * marked).sum() / (n * often.sum()))
    chance = share**2 + (1 - share) ** 2
    return None if chance >= 1 else (seen - chance) / (1 - chance)
