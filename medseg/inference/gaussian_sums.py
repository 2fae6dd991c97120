"""Sums over all voxels, itself included, weighed by exp(-1/2 |f_i - f_j|^2): exact and fast.

They take values (K, X, Y, Z) and give as many. The fast ones are right to a factor that is the
same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TypeAlias

import torch
from torch import Tensor

Sums: TypeAlias = Callable[[Tensor], Tensor]

_PAIRS = 1 << 24
"""Pairs of voxels at work at once: 64 MiB."""


def exact_sums(features: Tensor) -> Sums:
    """Over ``features (D, X, Y, Z)``, pair by pair: the work is the square of the voxels."""
    points = features.flatten(1).T.contiguous()
    parts = torch.split(points, max(1, _PAIRS // len(points)))
    kept = _kernel(points, points) if len(parts) == 1 else None

    def sums(values: Tensor) -> Tensor:
        flat = values.flatten(1)
        if kept is not None:
            return (flat @ kept).reshape(values.shape)
        return torch.cat([flat @ _kernel(points, part) for part in parts], 1).reshape(values.shape)

    return sums


def _kernel(points: Tensor, others: Tensor) -> Tensor:
    apart = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.square_().mul_(-0.5).exp_()


def spatial_sums(sigmas: Sequence[float], like: Tensor) -> Sums:
    """Over places alone, exactly; ``sigmas`` in voxels of each axis of ``like (K, X, Y, Z)``."""
    sides = zip(sigmas, like.shape[1:], strict=True)
    matrices = [_blur(side, sigma**2).to(like) for sigma, side in sides]
    return lambda values: _along(values, matrices)


class BilateralGrid:
    """Sums over place and one intensity, on a coarser grid of both.

    Paris and Durand 2006, doi:10.1007/11744085_44. Values are spread linearly over the cells, the
    cells are blurred, and voxels read them linearly. Both linear steps together widen the kernel
    by a third of a squared cell; the blur is that much narrower.
    """

    def __init__(self, guide: Tensor, sigmas: Sequence[float], *, fineness: float = 2.0) -> None:
        """For voxels of ``guide (X, Y, Z)``, in the kernel's standard deviations.

        ``sigmas`` are the kernel's in voxels of each axis; a standard deviation has
        ``fineness`` cells, none of them smaller than a voxel.
        """
        self._down, self._up = [], []
        for sigma, side in zip(sigmas, guide.shape, strict=True):
            cell = max(1.0, sigma / fineness)
            spread = _spread(side, cell)
            variance = (sigma / cell) ** 2 - (cell > 1) / 3
            self._down.append((_blur(len(spread), variance) @ spread).to(guide))
            self._up.append(spread.T.to(guide).contiguous())
        self._level = (guide - guide.amin()) * fineness
        levels = int(self._level.amax().ceil()) + 1
        self._across = _blur(levels, fineness**2 - 1 / 3).to(guide)

    def __call__(self, values: Tensor) -> Tensor:
        """Sums (K, X, Y, Z) of ``values (K, X, Y, Z)``."""
        levels = range(len(self._across))
        cells = torch.stack([_along(values * self._near(level), self._down) for level in levels])
        cells = torch.tensordot(self._across, cells, 1)
        sums = torch.zeros_like(values)
        for level in levels:
            sums += self._near(level) * _along(cells[level], self._up)
        return sums

    def _near(self, level: int) -> Tensor:
        """Each voxel's share in a level of intensity."""
        return (1 - (self._level - level).abs()).clamp_(min=0)


def _along(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """A matrix along each axis of ``values (K, X, Y, Z)``."""
    first, second, third = matrices
    values = second @ (values @ third.T)
    return (first @ values.flatten(2)).reshape(len(values), len(first), *values.shape[2:])


def _spread(side: int, cell: float) -> Tensor:
    """Each voxel's shares in the cells along an axis: (cells, side)."""
    cells = torch.arange(ceil((side - 1) / cell) + 1, dtype=torch.float64)
    places = torch.arange(side, dtype=torch.float64) / cell
    return (1 - (places - cells[:, None]).abs()).clamp(min=0)


def _blur(count: int, variance: float) -> Tensor:
    """A Gaussian between each two of ``count`` cells: (count, count)."""
    cells = torch.arange(count, dtype=torch.float64)
    return (-0.5 * (cells[:, None] - cells).square() / variance).exp()
