"""Windows over a volume: where they stand, how they are blended, what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from medseg.inference.limits import Placement
from medseg.inference.ring import Ring
from medseg.inference.transfer import answered

Blending = Literal["gaussian", "constant", "nnunet"]
Corner = tuple[int, int, int]
Order = tuple[int, int, int]
AS_IT_LIES: Order = (0, 1, 2)
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

    @property
    def corners(self) -> list[Corner]:
        """The first voxels of all windows, in the order of rows."""
        x, y, z = (self.along(axis) for axis in range(3))
        return list(product(x, y, z))

    def weights(self, device: torch.device) -> list[Tensor]:
        """The weights of a window's voxels along each of its sides; their product is a voxel's."""
        return [torch.from_numpy(importance(w, self.blending)).to(device) for w in self.size]

    def totals(self, device: torch.device) -> list[Tensor]:
        """What all windows' weights add up to along each side; their product is the whole."""
        totals = []
        for side, (length, window) in enumerate(zip(self.shape, self.size, strict=True)):
            total = torch.zeros(length)
            for start in self.along(side):
                total[start : start + window] += torch.from_numpy(importance(window, self.blending))
            totals.append(total.to(device))
        return totals


def blended(
    image: Tensor,
    windows: Windows,
    predict: Callable[[Tensor], Tensor],
    place: Placement,
    order: Order = AS_IT_LIES,
) -> Iterator[Tensor]:
    """Weighted mean of what ``predict`` says of each window, row by row along one axis.

    ``windows`` and rows have the axes of ``image (C, X, Y, Z)`` in another ``order``, the axis
    that is walked along first; ``predict`` takes (B, C, x, y, z) as the image has them and gives
    (B, K, x, y, z). Rows are (R, Y, Z, K), each given when it is finished: what is held is as
    deep as one window, on the image's device.
    """
    ring = Ring(windows.weights(image.device), windows.totals(image.device))
    length = windows.shape[0]
    seen = image.permute(0, *(1 + axis for axis in order))
    back = [0, 1, *(2 + order.index(axis) for axis in range(3))]
    forth = [0, *(2 + axis for axis in order), 1]
    # A batch may begin in one row and end in another: a slice is often a single window.
    batches = batched(windows.corners, place.batch)
    boxes = (
        torch.stack([seen[_box(c, windows.size)] for c in corners]).permute(back).contiguous()
        for corners in batches
    )
    finished = 0
    for corners, said in zip(batches, answered(boxes, predict, place.compute), strict=True):
        for (start, y, z), one in zip(corners, said.permute(forth), strict=True):
            yield from ring.finished(finished, start)
            finished = start
            ring.add(start, (y, z), one)
    yield from ring.finished(finished, length)


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
    x, y, z = inner
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


def batched(corners: Sequence[Corner], size: int) -> list[Sequence[Corner]]:
    """The corners, ``size`` at a time."""
    return [corners[first : first + size] for first in range(0, len(corners), size)]


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
