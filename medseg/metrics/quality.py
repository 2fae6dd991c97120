"""What looks odd in a mask, without a reference: told for a person to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution
from medseg.image import LabelMap
from medseg.image.box import box_around
from medseg.metrics.comparison import Comparison
from medseg.metrics.instances import split


@dataclass(frozen=True)
class Quality:
    """What a mask should be like, else it is flagged in the study's record.

    ``border`` flags labels that reach an edge of the scan, which may have cut them; ``fragments``
    labels of more components (26 neighbours); ``volumes_ml`` labels that are there and smaller or
    larger than the two volumes given; training puts the least and the most that it saw into the
    model folder. ``confidence`` flags labels whose voxels have a lower mean probability, where
    ``probabilities`` are kept. ``agreement`` flags labels on which the networks of an ensemble
    agree less, by the mean Dice of all pairs of them (Roy et al. 2019,
    doi:10.1016/j.neuroimage.2019.03.042).
    """

    border: bool = True
    fragments: int | None = 20
    volumes_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    confidence: float | None = 0.7
    agreement: float | None = 0.7

    def __post_init__(self) -> None:
        if self.fragments is not None and self.fragments < 1:
            raise ValueError(f"fragments is at least 1, not {self.fragments}")
        for name, (low, high) in self.volumes_ml.items():
            if not 0 <= low <= high:
                raise ValueError(f"volumes_ml: {name} runs from a smaller to a larger volume")
        for name in ("confidence", "agreement"):
            given = getattr(self, name)
            if given is not None and not 0 <= given <= 1:
                raise ValueError(f"{name} is between 0 and 1, not {given}")

    def flags(self, mask: LabelMap) -> tuple[Caution, ...]:
        """W_BORDER, W_FRAGMENTS and W_VOLUME of a mask, in the order of its labels."""
        volumes = mask.volumes_ml()
        edges = _edges(mask) if self.border else {}
        pieces = _pieces(mask) if self.fragments is not None else {}
        return tuple(
            caution
            for name, volume_ml in volumes.items()
            if volume_ml
            for caution in self._of(name, edges.get(name, []), pieces.get(name, 0), volume_ml)
        )

    def doubts(
        self, confidence: Mapping[str, float | None], agreement: Mapping[str, float | None]
    ) -> tuple[Caution, ...]:
        """W_CONFIDENCE and W_DISAGREEMENT, of labels by their names; None is no doubt."""
        told = []
        for name, value in confidence.items():
            if value is not None and self.confidence is not None and value < self.confidence:
                found = f"{name} has a mean probability of {value:.2f}, below {self.confidence:g}"
                told.append(Caution("W_CONFIDENCE", found))
        for name, value in agreement.items():
            if value is not None and self.agreement is not None and value < self.agreement:
                found = f"the networks agree on {name} by a Dice of {value:.2f}"
                told.append(Caution("W_DISAGREEMENT", f"{found}, below {self.agreement:g}"))
        return tuple(told)

    def _of(self, name: str, edges: list[str], pieces: int, volume_ml: float) -> Iterator[Caution]:
        if edges:
            yield Caution("W_BORDER", f"{name} reaches the {', '.join(edges)} edge of the scan")
        if self.fragments is not None and pieces > self.fragments:
            yield Caution(
                "W_FRAGMENTS", f"{name} is in {pieces} pieces, more than {self.fragments}"
            )
        low, high = self.volumes_ml.get(name, (0.0, np.inf))
        if not low <= volume_ml <= high:
            told = f"{name} has {volume_ml:.3g} ml, outside {low:.3g} to {high:.3g} ml"
            yield Caution("W_VOLUME", told)


def agreement(masks: Sequence[LabelMap]) -> dict[str, float | None]:
    """By label the mean Dice of all pairs of masks on one grid; None where no pair has any of it.

    A pair of which only one has the label counts as 0.
    """
    found: dict[str, list[float]] = {name: [] for name in masks[0].labels.names}
    for one, other in combinations(masks, 2):
        for name, counts in Comparison(one, other).counts.items():
            either = counts.prediction + counts.reference
            if either:
                found[name].append(2 * counts.both / either)
    return {name: fmean(values) if values else None for name, values in found.items()}


_SIDES = {"L": "left", "R": "right", "A": "anterior", "P": "posterior", "S": "superior"}
_SIDES["I"] = "inferior"
_ACROSS = dict(zip("LRAPSI", "RLPAIS", strict=True))


def _edges(mask: LabelMap) -> dict[str, list[str]]:
    """The edges of the scan that each label reaches; an axis of one voxel has none."""
    found: dict[str, list[str]] = {}
    for axis, (side, code) in enumerate(zip(mask.data.shape, mask.grid.axcodes, strict=True)):
        for index, end in ((0, _ACROSS[code]), (side - 1, code)) if side > 1 else ():
            there = set(np.unique(mask.data.take(index, axis)).tolist())
            for label in mask.labels:
                if there & set(label.values):
                    found.setdefault(label.name, []).append(_SIDES[end])
    return found


def _pieces(mask: LabelMap) -> dict[str, int]:
    """Components of each label; of exclusive ones all in one pass."""
    import cc3d

    from medseg.metrics.loops import own

    if not mask.labels.exclusive:
        return {name: int(split(mask.where(name)).max()) for name in mask.labels.names}
    data: NDArray[Any] = mask.data.T if mask.data.flags.f_contiguous else mask.data
    box = box_around(data > 0, (0, 0, 0))
    if box is None:
        return {}
    data = data[tuple(slice(a, b) for a, b in zip(*box, strict=True))]
    if mask.labels.ignore is not None:
        data = np.where(data == mask.labels.ignore, 0, data).astype(mask.data.dtype)
    data = np.ascontiguousarray(data)
    numbers = cc3d.connected_components(data, connectivity=26)
    owner = np.zeros(int(numbers.max()) + 1, data.dtype)
    own(numbers.ravel(), data.ravel(), owner)
    often = np.bincount(owner[1:], minlength=max(mask.labels.values) + 1)
    return {label.name: int(often[label.values[0]]) for label in mask.labels}
