"""Windows over a volume: where they stand, how they are blended, what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

Blending = Literal["gaussian", "constant"]
Corner = tuple[int, int, int]
_SIGMA = 0.125
"""Width of the Gaussian as a share of the window, as nnU-Net has it (Isensee et al. 2021)."""


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: evenly, the first and the last at the ends."""
    if length <= window:
        return [0]
    # A little more than the product, as 10 * (1 - 0.8) is 1.9999999999999996.
    step = max(1, int(window * (1 - overlap) + 1e-6))
    count = -(-(length - window) // step) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def importance(window: int, blending: Blending) -> NDArray[np.float32]:
    """Weight of each voxel along one side of a window; the highest is 1, none is 0."""
    if blending == "constant":
        return np.ones(window, np.float32)
    centre = (window - 1) / 2
    weight = np.exp(-0.5 * ((np.arange(window) - centre) / (_SIGMA * window)) ** 2)
    # Far corners must not vanish, or a voxel that only they see would be divided by nothing.
    return np.asarray(np.maximum(weight, 1e-2), np.float32)


@dataclass(frozen=True)
class Windows:
    """Windows of one size over a volume of one shape; it is at least that size."""

    shape: Corner
    size: Corner
    overlap: float
    blending: Blending

    def corners(self) -> list[Corner]:
        """The first voxel of every window, the slowest axis slowest."""
        along = [starts(n, w, self.overlap) for n, w in zip(self.shape, self.size, strict=True)]
        return [(x, y, z) for x, y, z in product(*along)]

    def weights(self, device: torch.device) -> Tensor:
        """The weight (X, Y, Z) of each voxel of a window."""
        x, y, z = (torch.from_numpy(importance(w, self.blending)).to(device) for w in self.size)
        return x[:, None, None] * y[:, None] * z

    def totals(self, device: torch.device) -> list[Tensor]:
        """What all windows' weights add up to, axis by axis; their product is the whole."""
        totals = []
        for side, (length, window) in enumerate(zip(self.shape, self.size, strict=True)):
            total = torch.zeros(length)
            for start in starts(length, window, self.overlap):
                total[start : start + window] += torch.from_numpy(importance(window, self.blending))
            totals.append(total.to(device).reshape([-1 if side == a else 1 for a in range(3)]))
        return totals


def blended(
    image: Tensor,
    windows: Windows,
    predict: Callable[[Tensor], Tensor],
    batch: int,
) -> Tensor:
    """Weighted mean (K, X, Y, Z) of what ``predict`` says of each window.

    ``predict`` takes (B, C, x, y, z) and gives (B, K, x, y, z).
    """
    weights = windows.weights(image.device)
    total: Tensor | None = None
    for corners in _batches(windows.corners(), batch):
        said = predict(torch.stack([image[_box(c, windows.size)] for c in corners])).float()
        said *= weights
        if total is None:
            total = said.new_zeros((said.shape[1], *windows.shape))
        for corner, one in zip(corners, said, strict=True):
            total[_box(corner, windows.size)] += one
    assert total is not None  # there is always a window
    for along in windows.totals(image.device):
        total /= along
    return total


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
