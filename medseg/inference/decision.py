"""From probabilities on one grid to a mask on another, slab by slab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.image import Grid, Labels, mask_dtype
from medseg.image.labelmap import Mask
from medseg.image.resampling import AxisMap, axis_maps, index_map, inside_of

_SLAB_FLOATS = 1 << 24
"""Interpolated probabilities held at once: 64 MiB."""


def decide(scores: Tensor, source: Grid, target: Grid, labels: Labels) -> Mask:
    """The mask (X, Y, Z) on ``target`` from ``scores (K, X, Y, Z)`` on ``source``."""
    writes = torch.tensor(
        [0, *labels.painted] if labels.exclusive else labels.painted, device=scores.device
    )
    mask = np.zeros(target.shape, mask_dtype(labels))
    with torch.no_grad():
        for rows, slab in _slabs(scores, source, target):
            mask[rows] = _winners(slab, writes, labels.exclusive).cpu().numpy()
    return _without_outside(mask, source, target)


def _slabs(scores: Tensor, source: Grid, target: Grid) -> Iterator[tuple[slice, Tensor]]:
    """Probabilities (K, rows, Y, Z) of one slab of the target's first axis after another."""
    maps = axis_maps(target, source)
    rows = max(1, _SLAB_FLOATS // (scores.shape[0] * target.shape[1] * target.shape[2]))
    matrix = index_map(target, source)
    for start in range(0, target.shape[0], rows):
        part = slice(start, min(start + rows, target.shape[0]))
        if maps is None:
            yield part, _oblique(scores, matrix, part, target.shape)
        else:
            yield part, _separable(scores, maps, part, target.shape)


def _separable(
    scores: Tensor, maps: Sequence[AxisMap], rows: slice, shape: Sequence[int]
) -> Tensor:
    """Linear interpolation of one slab, along the scores' axes in their own order."""
    spans = [(rows.start, rows.stop), (0, shape[1]), (0, shape[2])]
    slab = scores
    # The slab's own axis comes first, so that what follows is small.
    for target in sorted(range(3), key=lambda axis: (axis != 0, maps[axis].source)):
        slab = _along(slab, maps[target], *spans[target])
    return slab.permute([0, *(1 + one.source for one in maps)])


def _along(data: Tensor, one: AxisMap, start: int, stop: int) -> Tensor:
    axis = 1 + one.source
    low, high, weight = one.neighbours(start, stop)
    first = data.index_select(axis, torch.from_numpy(low).to(data.device))
    if not weight.any():
        return first
    shape = [1, 1, 1, 1]
    shape[axis] = stop - start
    second = data.index_select(axis, torch.from_numpy(high).to(data.device))
    share = torch.from_numpy(weight).to(data.device).reshape(shape)
    return torch.lerp(first, second, share)


def _oblique(
    scores: Tensor, matrix: NDArray[np.float64], rows: slice, shape: Sequence[int]
) -> Tensor:
    """Trilinear interpolation where no axis of the one grid runs along one of the other."""
    sides = torch.tensor(scores.shape[1:], dtype=torch.float64, device=scores.device)
    turn = torch.from_numpy(matrix).to(scores.device)
    ranges = (range(rows.start, rows.stop), range(shape[1]), range(shape[2]))
    index = torch.stack(
        torch.meshgrid(
            *(torch.tensor(list(r), dtype=torch.float64, device=scores.device) for r in ranges),
            indexing="ij",
        ),
        -1,
    )
    at = index @ turn[:3, :3].T + turn[:3, 3]
    # grid_sample counts from -1 to 1 and names the fastest axis first.
    place = torch.where(sides > 1, 2 * at / (sides - 1).clamp(min=1) - 1, torch.zeros_like(at))
    sampled = torch.nn.functional.grid_sample(
        scores[None].float(),
        place.flip(-1)[None].float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled[0]


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
