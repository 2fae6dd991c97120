"""Windows over a volume: where they stand, how they are blended, what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import ceil
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

Blending = Literal["gaussian", "constant", "nnunet"]
Corner = tuple[int, int, int]
_SIGMA = 0.125
"""Width of the Gaussian as a share of the window, as nnU-Net has it (Isensee et al. 2021)."""


def starts(length: int, window: int, overlap: float, blending: Blending = "gaussian") -> list[int]:
    """Where windows begin along an axis: evenly, the first and the last at the ends.

    Neighbours share ``overlap`` at least; with ``nnunet`` they do so on average.
    """
    if length <= window:
        return [0]
    if blending == "nnunet":
        last = ceil((length - window) / (window * (1 - overlap)))
        return [round((length - window) / last * i) for i in range(last + 1)]
    # A little more than the product, as 10 * (1 - 0.8) is 1.9999999999999996.
    step = max(1, int(window * (1 - overlap) + 1e-6))
    count = -(-(length - window) // step) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def importance(window: int, blending: Blending) -> NDArray[np.float32]:
    """Weight of each voxel along one side of a window; the highest is 1, none is 0."""
    if blending == "constant":
        return np.ones(window, np.float32)
    centre = window // 2 if blending == "nnunet" else (window - 1) / 2
    weight = np.exp(-0.5 * ((np.arange(window) - centre) / (_SIGMA * window)) ** 2)
    # Far corners must not vanish, or a voxel that only they see would be divided by nothing.
    lowest = 1e-4 if blending == "nnunet" else 1e-2
    return np.asarray(np.maximum(weight, lowest), np.float32)


@dataclass(frozen=True)
class Windows:
    """Windows of one size over a volume of one shape; it is at least that size."""

    shape: Corner
    size: Corner
    overlap: float
    blending: Blending

    def along(self, axis: int) -> list[int]:
        """Where windows begin along an axis."""
        return starts(self.shape[axis], self.size[axis], self.overlap, self.blending)

    def corners_at(self, start: int) -> list[Corner]:
        """The first voxels of the windows that begin at ``start`` along the first axis."""
        _, *along = (self.along(axis) for axis in range(3))
        return [(start, y, z) for y, z in product(*along)]

    def weights(self, device: torch.device) -> Tensor:
        """The weight (X, Y, Z) of each voxel of a window."""
        x, y, z = (torch.from_numpy(importance(w, self.blending)).to(device) for w in self.size)
        return x[:, None, None] * y[:, None] * z

    def totals(self, device: torch.device) -> list[Tensor]:
        """What all windows' weights add up to, axis by axis; their product is the whole."""
        totals = []
        for side, (length, window) in enumerate(zip(self.shape, self.size, strict=True)):
            total = torch.zeros(length)
            for start in self.along(side):
                total[start : start + window] += torch.from_numpy(importance(window, self.blending))
            totals.append(total.to(device).reshape([-1 if side == a else 1 for a in range(3)]))
        return totals


def blended(
    image: Tensor,
    windows: Windows,
    predict: Callable[[Tensor], Tensor],
    batch: int,
) -> Iterator[Tensor]:
    """Weighted mean of what ``predict`` says of each window, row by row along the first axis.

    ``predict`` takes (B, C, x, y, z) and gives (B, K, x, y, z); rows are (R, Y, Z, K), each given
    when it is finished. What is held is as deep as one window; what was given may be changed.
    """
    weights = windows.weights(image.device)[..., None]
    length, depth = windows.shape[0], windows.size[0]
    deep, wide, high = windows.totals(image.device)
    share = (wide * high)[..., None]
    along = windows.along(0)
    slab: Tensor | None = None
    for place, start in enumerate(along):
        for corners in _batches(windows.corners_at(start), batch):
            said = predict(torch.stack([image[_box(c, windows.size)] for c in corners]))
            said = said.movedim(1, -1).float() * weights
            if slab is None:
                slab = said.new_zeros((depth, *windows.shape[1:], said.shape[-1]))
            for (_, y, z), one in zip(corners, said, strict=True):
                slab[:, y : y + windows.size[1], z : z + windows.size[2]] += one
        assert slab is not None
        done = (along[place + 1] if place + 1 < len(along) else length) - start
        rows = slab[:done].clone() if done < depth else slab
        rows /= share
        rows /= deep[start : start + done, ..., None]
        yield rows
        if done < depth:
            slab[: depth - done] = slab[done:].clone()
            slab[depth - done :] = 0
        else:
            slab = None


def whole(said: Iterable[Tensor], length: int) -> Tensor:
    """All of the ``length`` rows (R, Y, Z, K) as one (K, X, Y, Z); in memory K stays last."""
    data: Tensor | None = None
    first = 0
    for rows in said:
        if data is None:
            data = rows.new_empty((length, *rows.shape[1:]))
        data[first : first + len(rows)] = rows
        first += len(rows)
    assert data is not None  # a volume has a voxel at least
    return data.movedim(-1, 0)


def trimmed(said: Iterable[Tensor], inner: Sequence[slice]) -> Iterator[Tensor]:
    """Rows (R, Y, Z, K) of a volume that was grown, without what was grown (see ``grown``)."""
    _, x, y, z = inner
    first = 0
    for rows in said:
        begin = max((x.start or 0) - first, 0)
        stop = len(rows) if x.stop is None else min(x.stop - first, len(rows))
        first += len(rows)
        if begin < stop:
            yield rows[begin:stop, y, z]


def averaged(several: Sequence[Iterator[Tensor]]) -> Iterator[Tensor]:
    """The mean of the rows that several say of one volume, in pieces that all have finished."""
    if len(several) == 1:
        yield from several[0]
        return
    held = [next(one) for one in several]
    while held:
        count = min(len(rows) for rows in held)
        total = held[0][:count].clone()
        for rows in held[1:]:
            total += rows[:count]
        yield total.div_(len(several))
        held = [rows[count:] for rows in held]
        held = [r if len(r) else next(s, r) for r, s in zip(held, several, strict=True)]
        # All of them tell of the same rows, so that they end together.
        held = [] if not len(held[0]) else held


def _batches(corners: Sequence[Corner], size: int) -> Iterator[list[Corner]]:
    rest = iter(corners)
    while part := list(islice(rest, size)):
        yield part


def _box(corner: Corner, size: Corner) -> tuple[slice, ...]:
    return (slice(None), *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))


def grown(image: Tensor, size: Corner) -> tuple[Tensor, tuple[slice, ...]]:
    """``image (C, X, Y, Z)`` with zeros around it up to ``size``, and where it lies within."""
    missing = [max(0, w - n) for w, n in zip(size, image.shape[1:], strict=True)]
    if not any(missing):
        return image, (slice(None),) * 4
    before = [m // 2 for m in missing]
    sides = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    larger = pad(image, [amount for side in reversed(sides) for amount in side])
    return larger, (slice(None), *inner)
