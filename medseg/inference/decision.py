"""From probabilities on one grid to a mask on another, without labels x voxels ever at once.

In a cell whose eight corners have one winner, by more than rounding can undo, that label wins all
over it, as what lies between is a mean of the corners. Only where they disagree is anything
interpolated, and only labels that can win there. Grids that are oblique to each other, and
probabilities on another device than the CPU, go the general way: slab by slab, everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.image import Grid, Labels, mask_dtype
from medseg.image.labelmap import Mask
from medseg.image.resampling import AxisMap, axis_maps, index_map, inside_of
from medseg.inference.rule import PROBABLE, Decision

_SLAB_FLOATS = 1 << 24
"""Interpolated probabilities held at once: 64 MiB."""


def decide(
    scores: Tensor, source: Grid, target: Grid, labels: Labels, rule: Decision = PROBABLE
) -> Mask:
    """The mask (X, Y, Z) on ``target`` from ``scores (K, X, Y, Z)`` on ``source``."""
    if Painting.possible(source, target, labels):
        painting = Painting(source, target, labels, rule)
        painting.take(scores.movedim(0, -1))
        return painting.mask
    writes = torch.tensor(
        [0, *labels.painted] if labels.exclusive else labels.painted, device=scores.device
    )
    mask, raised = np.zeros(target.shape, mask_dtype(labels)), _raised(labels, rule)
    with torch.no_grad():
        for rows, slab in slabs(scores, source, target, rule.nearest_axis(source, target)):
            found = _winners(slab + raised if raised else slab, writes, labels.exclusive)
            mask[rows] = found.cpu().numpy()
    return _without_outside(mask, source, target)


def _raised(labels: Labels, rule: Decision) -> float:
    """What is added to scores, so that a region always takes what reaches 0.5."""
    return 0.5 if rule.scores == "logits" and not labels.exclusive else 0.0


class Line(NamedTuple):
    """Target voxels along one axis: the two source voxels around each, and the second's share."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float32]

    def part(self, chosen: slice, first: int = 0) -> Line:
        """Some of them, with source voxels counted from ``first``."""
        return Line(self.low[chosen] - first, self.high[chosen] - first, self.share[chosen])


Lines = tuple[Line, Line, Line]


class Painting:
    """A mask that is painted while probabilities arrive, row by row of their slowest axis.

    Rows that no later voxel needs are let go; what is held is a row more than what was taken.
    """

    def __init__(
        self, source: Grid, target: Grid, labels: Labels, rule: Decision = PROBABLE
    ) -> None:
        maps = axis_maps(target, source)
        assert maps is not None
        self._exclusive = labels.exclusive
        kind = mask_dtype(labels)
        painted = [0, *labels.painted] if labels.exclusive else list(labels.painted)
        self._values = np.array(painted, kind)
        self._source, self._target = source, target
        self._mask = np.zeros(target.shape, kind)
        # The axes of the mask in the order of those of the scores.
        order = sorted(range(3), key=lambda axis: maps[axis].source)
        self._view = self._mask.transpose(order)
        nearest = rule.nearest_axis(source, target)
        self._lines = [_line(maps[a], target.shape[a], nearest=a == nearest) for a in order]
        self._raised = _raised(labels, rule)
        self._runs = _runs(self._lines[2].low)
        self._held: Tensor | None = None
        self._first = 0

    @staticmethod
    def possible(source: Grid, target: Grid, labels: Labels) -> bool:
        """Whether each axis of the target runs along one of the source."""
        from medseg.inference.kernels import MOST_REGIONS

        fits = labels.exclusive or labels.channels <= MOST_REGIONS
        return fits and axis_maps(target, source) is not None

    def take(self, rows: Tensor) -> None:
        """The next rows (R, Y, Z, K) of scores, on whatever device."""
        given = rows if rows.device.type != "cpu" else torch.as_tensor(rows, dtype=torch.float32)
        if self._raised:
            given = given + self._raised
        if self._held is not None:
            given = torch.cat([self._held, given])
        stop = self._first + len(given)
        chosen = self._ready(stop)
        if chosen is not None:
            lines = (self._lines[0].part(chosen, self._first), self._lines[1], self._lines[2])
            paint = self._compiled if given.device.type == "cpu" else self._by_torch
            paint(given, lines, self._view[chosen])
        # The last row may be the lower corner of cells to come.
        self._held, self._first = given[-1:].clone(), stop - 1

    def _by_torch(self, given: Tensor, lines: Lines, painted: NDArray[Any]) -> None:
        from medseg.inference import by_torch

        codes = by_torch.painted(given, lines, torch.from_numpy(self._values), self._exclusive)
        painted[...] = codes.cpu().numpy()

    def _compiled(self, given: Tensor, lines: Lines, painted: NDArray[Any]) -> None:
        from medseg.compiled import by_rows
        from medseg.inference import kernels

        scores = np.ascontiguousarray(given.numpy())
        threads = torch.get_num_threads()
        codes = np.empty(scores.shape[:3], np.int32)
        told = kernels.winners if self._exclusive else kernels.members
        by_rows(told, codes[:, :, 0].size, threads, scores, codes)
        # Plain tuples: compiled loops are kept on disk, and know classes by their place.
        plain = (tuple(line) for line in lines)
        shown = (*plain, self._runs, self._values, self._exclusive, painted)
        by_rows(kernels.paint, painted[:, :, 0].size, threads, scores, codes, *shown)

    def _ready(self, stop: int) -> slice | None:
        """The target voxels along the slowest axis whose cells end before ``stop``, and now can."""
        high = self._lines[0].high
        begin = 0 if self._held is None else self._first + 1
        found = np.flatnonzero((high >= begin) & (high < stop))
        return slice(int(found[0]), int(found[-1]) + 1) if len(found) else None

    @property
    def mask(self) -> Mask:
        """The mask (X, Y, Z), once all rows have been taken."""
        return _without_outside(self._mask, self._source, self._target)


def _line(one: AxisMap, side: int, *, nearest: bool = False) -> Line:
    if nearest:
        chosen = one.nearest(0, side)
        return Line(chosen, chosen, np.zeros(side, np.float32))
    low, high, share = one.neighbours(0, side)
    # Where every centre is a source voxel's, what lies above it does not matter.
    return Line(low, high if share.any() else low, share)


def _runs(low: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where along an axis a new cell begins, and the end."""
    changes = np.flatnonzero(np.diff(low)) + 1
    return np.concatenate([[0], changes, [len(low)]]).astype(np.intp)


def slabs(
    scores: Tensor, source: Grid, target: Grid, nearest: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Scores (K, rows, Y, Z) of one slab of the target's first axis after another."""
    maps = axis_maps(target, source)
    rows = max(1, _SLAB_FLOATS // (scores.shape[0] * target.shape[1] * target.shape[2]))
    matrix = index_map(target, source)
    for start in range(0, target.shape[0], rows):
        part = slice(start, min(start + rows, target.shape[0]))
        if maps is None:
            yield part, _oblique(scores, matrix, part, target.shape)
        else:
            sides = zip(maps, target.shape, strict=True)
            lines = [_line(m, n, nearest=a == nearest) for a, (m, n) in enumerate(sides)]
            lines[0] = lines[0].part(part)
            yield part, _separable(scores, maps, lines)


def _separable(scores: Tensor, maps: Sequence[AxisMap], lines: list[Line]) -> Tensor:
    """Linear interpolation of one slab, along the scores' axes in their own order."""
    # Only what the slab needs, so that all that follows is small.
    first, last = int(lines[0].low.min()), int(lines[0].high.max())
    slab = scores.narrow(1 + maps[0].source, first, last - first + 1)
    lines[0] = lines[0].part(slice(None), first)
    for target in sorted(range(3), key=lambda axis: maps[axis].source):
        slab = _along(slab, 1 + maps[target].source, lines[target])
    return slab.permute([0, *(1 + one.source for one in maps)])


def _along(data: Tensor, axis: int, line: Line) -> Tensor:
    first = data.index_select(axis, torch.from_numpy(line.low).to(data.device))
    if not line.share.any():
        return first
    shape = [1, 1, 1, 1]
    shape[axis] = len(line.low)
    second = data.index_select(axis, torch.from_numpy(line.high).to(data.device))
    share = torch.from_numpy(line.share).to(data.device).reshape(shape)
    # Step by step as the compiled loop has it, so that the two agree to the last bit.
    return first.add_(second.sub_(first).mul_(share))


def _oblique(
    scores: Tensor, matrix: NDArray[np.float64], rows: slice, shape: Sequence[int]
) -> Tensor:
    """Trilinear interpolation where no axis of the one grid runs along one of the other."""
    turn = torch.from_numpy(matrix).to(scores.device)
    ranges = (range(rows.start, rows.stop), range(shape[1]), range(shape[2]))
    index = torch.stack(
        torch.meshgrid(
            *(torch.tensor(list(r), dtype=torch.float64, device=scores.device) for r in ranges),
            indexing="ij",
        ),
        -1,
    )
    return sampled(scores, index @ turn[:3, :3].T + turn[:3, 3])


def sampled(scores: Tensor, at: Tensor) -> Tensor:
    """Scores (K, *at) by trilinear interpolation at voxel places ``at (..., 3)``."""
    sides = torch.tensor(scores.shape[1:], dtype=torch.float64, device=scores.device)
    # grid_sample counts from -1 to 1 and names the fastest axis first.
    place = torch.where(sides > 1, 2 * at / (sides - 1).clamp(min=1) - 1, torch.zeros_like(at))
    found = torch.nn.functional.grid_sample(
        scores[None].float(),
        place.flip(-1).reshape(1, -1, 1, 1, 3).float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return found[0].reshape(-1, *at.shape[:-1])


def _winners(slab: Tensor, writes: Tensor, exclusive: bool) -> Tensor:
    """The value to write in each voxel of ``slab (K, X, Y, Z)``."""
    # One channel after the other: an arg-max over a leading axis is many times slower on a CPU.
    winner = torch.zeros(slab.shape[1:], dtype=writes.dtype, device=slab.device)
    if not exclusive:
        for channel, write in zip(slab, writes, strict=True):
            winner = torch.where(channel >= 0.5, write, winner)
        return winner
    best = slab[0]
    for channel, write in zip(slab[1:], writes[1:], strict=True):
        winner = torch.where(channel > best, write, winner)
        best = torch.maximum(best, channel)
    return winner


def _without_outside(mask: Mask, source: Grid, target: Grid) -> Mask:
    """Background where the target's voxels lie beyond the field of view of the scores."""
    maps = axis_maps(target, source)
    if maps is None:
        mask[~inside_of(target, source)] = 0
        return mask
    for axis, one in enumerate(maps):
        beyond = ~one.inside(0, target.shape[axis])
        if beyond.any():
            mask[(slice(None),) * axis + (beyond,)] = 0
    return mask
