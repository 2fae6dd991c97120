"""What kept probabilities say of a mask: how sure, of which instance, and whether rightly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap
from medseg.image.box import Corner, box_around
from medseg.inference import Scores
from medseg.inference.certainty import Slab, chances, entropy, most_bits
from medseg.io import Geometry, write_map
from medseg.metrics import Measure, Probabilities
from medseg.metrics.calibration import Forecasts

_STEPS = 255
"""An entropy map is written in so many steps."""


@dataclass(frozen=True, eq=False)
class Certainty:
    """A mask (X, Y, Z) and the scores that it was decided from, on a grid of their own.

    Their probabilities are those at ``temperature``.
    Labels that post-processing has given other names are not known to the scores.
    """

    mask: LabelMap
    scores: Scores
    temperature: float = 1.0

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels that both the mask and the scores have."""
        return tuple(name for name in self.mask.labels.names if name in self.scores.labels.names)

    def confidence(self) -> dict[str, float | None]:
        """The mean probability of each label's voxels; None where it has none."""
        return {name: self._of(name, None) for name in self.names}

    def _of(self, name: str, numbers: NDArray[Any] | None) -> Any:
        """The mean over a label's voxels, or over each of its components from 1 on."""
        marked = self.mask.where(name) if numbers is None else numbers
        box = box_around(marked > 0, (0, 0, 0))
        if box is None:
            return None if numbers is None else []
        count = 2 if numbers is None else int(marked.max()) + 1
        total, voxels = np.zeros(count), np.zeros(count)
        part = marked[_slices(box)]
        for rows, said in self._chances(name, box):
            place = part[rows].ravel().astype(np.intp)
            total += np.bincount(place, said.ravel(), count)
            voxels += np.bincount(place, minlength=count)
        means = np.minimum(total[1:] / np.maximum(voxels[1:], 1), 1.0)
        rounded = [round(float(mean), 4) for mean in means]
        return rounded[0] if numbers is None else rounded

    def _chances(self, name: str, box: tuple[Corner, Corner]) -> Iterator[Slab]:
        return chances(self.scores, name, self.mask.grid.cropped(*box), self.temperature)

    def of_instances(self, name: str, numbers: NDArray[np.uint32]) -> list[float] | None:
        """The mean probability of each component of a label, from 1 on; None if not known."""
        found: list[float] | None = self._of(name, numbers) if name in self.names else None
        return found

    def forecasts(self, reference: LabelMap, asked: Probabilities) -> dict[str, Forecasts | None]:
        """Each label's probabilities beside its reference; None where neither mask has it.

        Voxels to ignore do not count.
        """
        return {name: self._forecast(name, reference, asked) for name in self.names}

    def _forecast(self, name: str, reference: LabelMap, asked: Probabilities) -> Forecasts | None:
        truth = reference.where(name)
        around = asked.margin_mm
        box = box_around(truth | self.mask.where(name), _margin(self.mask.grid, around))
        if box is None:
            return None
        if around is None:
            box = ((0, 0, 0), self.mask.grid.shape)
        inner, ignore = _slices(box), reference.labels.ignore
        truth = truth[inner]
        keep = np.ones(truth.shape, bool) if ignore is None else reference.data[inner] != ignore
        parts = [
            Forecasts.of(np.minimum(said[keep[rows]], 1), truth[rows][keep[rows]], asked.bins)
            for rows, said in self._chances(name, box)
            if keep[rows].any()
        ]
        return Forecasts.total(parts)


def _slices(box: tuple[Corner, Corner]) -> tuple[slice, ...]:
    return tuple(slice(first, stop) for first, stop in zip(*box, strict=True))


def _margin(grid: Grid, around_mm: float | None) -> list[int]:
    return [int(np.ceil((around_mm or 0) / side)) for side in grid.spacing_mm]


def calibration_measures(found: Mapping[str, Forecasts | None]) -> list[Measure]:
    """``ece`` and ``brier`` of each label, or why there is none."""
    told = []
    for name, one in found.items():
        for metric in ("ece", "brier"):
            if one is None:
                told.append(Measure(name, metric, None, "both_empty"))
            else:
                value = one.curve.ece if metric == "ece" else one.brier
                told.append(Measure(name, metric, value))
    return told


def write_entropy(path: Path, frames: Sequence[Certainty], geometry: Geometry | None) -> None:
    """Write the entropy in bits of every voxel, one a frame, in 255 steps of what it can be."""
    step = most_bits(frames[0].scores.labels) / _STEPS
    maps = []
    for one in frames:
        found = np.zeros(one.mask.grid.shape, np.uint8)
        for rows, bits in entropy(one.scores, one.mask.grid, one.temperature):
            found[rows] = np.minimum(np.rint(bits / step), _STEPS)
        maps.append(found)
    write_map(path, maps, geometry or Geometry.of(frames[0].mask.grid), step)
