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
from medseg.inference import Scores
from medseg.inference.certainty import Slab, chances, entropy, most_bits
from medseg.io import Geometry, write_map
from medseg.metrics import Measure, Probabilities
from medseg.metrics.calibration import Forecasts

Box = tuple[slice, ...]
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

    @cached_property
    def _found(self) -> Sequence[Box | None]:
        return _places(self.mask)

    def confidence(self) -> dict[str, float | None]:
        """The mean probability of each label's voxels; None where it has none."""
        return {name: self._of(name, None) for name in self.names}

    def _of(self, name: str, numbers: NDArray[Any] | None) -> Any:
        """The mean over a label's voxels, or over each of its components from 1 on."""
        box = _box(self._found, self.mask.labels[name].values)
        if box is None:
            return None if numbers is None else []
        values = self.mask.labels[name].values
        part = np.isin(self.mask.data[box], values) if numbers is None else numbers[box]
        count = int(part.max()) + 1
        total, voxels = np.zeros(count), np.zeros(count)
        for rows, said in self._chances(name, box):
            place = part[rows].ravel().astype(np.intp)
            total += np.bincount(place, said.ravel(), count)
            voxels += np.bincount(place, minlength=count)
        means = np.minimum(total[1:] / np.maximum(voxels[1:], 1), 1.0)
        rounded = [round(float(mean), 4) for mean in means]
        return rounded[0] if numbers is None else rounded

    def _chances(self, name: str, box: Box) -> Iterator[Slab]:
        grid = _cropped(self.mask.grid, box)
        return chances(self.scores, name, grid, self.temperature)

    def of_instances(self, name: str, numbers: NDArray[np.uint32]) -> list[float] | None:
        """The mean probability of each component of a label, from 1 on; None if not known."""
        found: list[float] | None = self._of(name, numbers) if name in self.names else None
        return found

    def forecasts(self, reference: LabelMap, asked: Probabilities) -> dict[str, Forecasts | None]:
        """Each label's probabilities beside its reference; None where neither mask has it.

        Voxels to ignore do not count.
        """
        ignore = reference.labels.ignore
        keep = None if ignore is None else reference.data != ignore
        mask = self.mask if keep is None else self.mask.with_data(self.mask.data * keep)
        places = _places(mask), _places(reference)
        told = {}
        for name in self.names:
            values = mask.labels[name].values, reference.labels[name].values
            boxes = [_box(place, of) for place, of in zip(places, values, strict=True)]
            box = _around([one for one in boxes if one is not None], mask.grid, asked.margin_mm)
            told[name] = None if box is None else self._forecast(name, reference, keep, box, asked)
        return told

    def _forecast(
        self,
        name: str,
        reference: LabelMap,
        keep: NDArray[np.bool_] | None,
        box: Box,
        asked: Probabilities,
    ) -> Forecasts | None:
        truth = np.isin(reference.data[box], reference.labels[name].values)
        kept = np.ones(truth.shape, bool) if keep is None else keep[box]
        parts = [
            Forecasts.of(np.minimum(said[kept[rows]], 1), truth[rows][kept[rows]], asked.bins)
            for rows, said in self._chances(name, box)
            if kept[rows].any()
        ]
        return Forecasts.total(parts)


def _places(mask: LabelMap) -> Sequence[Box | None]:
    """The box of each value from 1 on, found in one pass."""
    from scipy.ndimage import find_objects

    found: Sequence[Box | None] = find_objects(mask.data)
    return found


def _box(places: Sequence[Box | None], values: Sequence[int]) -> Box | None:
    """The box around values, or None where there is none of them."""
    return _joined([box for v in values if v <= len(places) and (box := places[v - 1])])


def _joined(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    return tuple(
        slice(min(s.start for s in side), max(s.stop for s in side))
        for side in zip(*boxes, strict=True)
    )


def _around(boxes: Sequence[Box], grid: Grid, margin_mm: float | None) -> Box | None:
    """The box around boxes, wider on each side; the whole grid for no margin."""
    box = _joined(boxes)
    if box is None or margin_mm is None:
        return box and tuple(slice(0, side) for side in grid.shape)
    more = [int(np.ceil(margin_mm / side)) for side in grid.spacing_mm]
    return tuple(
        slice(max(0, one.start - m), min(side, one.stop + m))
        for one, m, side in zip(box, more, grid.shape, strict=True)
    )


def _cropped(grid: Grid, box: Box) -> Grid:
    return grid.cropped([one.start for one in box], [one.stop for one in box])


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


def write_entropy(path: Path, frames: Sequence[Certainty], geometry: Geometry | None) -> str:
    """Write the entropy in bits of every voxel, one a frame, in 255 steps of what it can be.

    The SHA-256 of the file's bytes.
    """
    step = most_bits(frames[0].scores.labels) / _STEPS
    maps = []
    for one in frames:
        found = np.zeros(one.mask.grid.shape, np.uint8)
        for rows, bits in entropy(one.scores, one.mask.grid, one.temperature):
            found[rows] = np.minimum(np.rint(bits / step), _STEPS)
        maps.append(found)
    return write_map(path, maps, geometry or Geometry.of(frames[0].mask.grid), step)
