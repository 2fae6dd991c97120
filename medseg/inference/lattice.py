"""Gaussian sums over many points at once, on the permutohedral lattice.

Adams, Baek and Davis 2010, doi:10.1111/j.1467-8659.2009.01645.x. Each point is spread over the
corners of the simplex it lies in, the corners are blurred along the lattice's directions, and
the points gather what has come to their corners. The work grows with points and dimensions, not
with the reach of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from random import Random

import torch
from torch import Tensor

_CHUNK = 1 << 18
"""Points at work at once."""


class Lattice:
    """Sums over all voxels weighed by exp(-1/2 |f_i - f_j|^2), nearly, to a common factor."""

    def __init__(self, features: Tensor) -> None:
        """For voxels of ``features (D, X, Y, Z)``, in standard deviations."""
        points = features.flatten(1).T.contiguous()
        dims = points.shape[1]
        odd = Random(dims)
        # A corner's D + 1 coordinates are mixed into one number; two corners that would give the
        # same one are as good as impossible.
        self._mix = torch.tensor(
            [odd.getrandbits(63) | 1 for _ in range(dims + 1)], device=features.device
        )
        parts = torch.split(points, _CHUNK)
        known = torch.cat([torch.unique(self._corners(part)[0]) for part in parts])
        known = torch.unique(known)
        self._index = torch.empty(len(points), dims + 1, dtype=torch.int32, device=known.device)
        self._shares = torch.empty(len(points), dims + 1, device=known.device)
        for place, part in enumerate(parts):
            rows = slice(place * _CHUNK, place * _CHUNK + len(part))
            codes, self._shares[rows] = self._corners(part)
            self._index[rows] = torch.searchsorted(known, codes)
        self._size = len(known)
        self._beside = [self._neighbours(known, axis) for axis in range(dims + 1)]

    def __call__(self, values: Tensor) -> Tensor:
        """Sums (K, X, Y, Z) of ``values (K, X, Y, Z)``."""
        flat = values.flatten(1)
        # The last corner stands for all that no point touches.
        corners = values.new_zeros(self._size + 1, len(values))
        for rows, index, shares in self._parts():
            spread = shares[..., None] * flat[:, rows].T[:, None]
            corners.index_add_(0, index.flatten(), spread.flatten(0, 1))
        for low, high in self._beside:
            corners[:-1] = corners[:-1] + (corners[low] + corners[high]) / 2
        sums = torch.empty_like(flat)
        for rows, index, shares in self._parts():
            sums[:, rows] = (shares[..., None] * corners[index]).sum(1).T
        return sums.reshape(values.shape)

    def _parts(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        for start in range(0, len(self._index), _CHUNK):
            rows = slice(start, start + _CHUNK)
            yield rows, self._index[rows], self._shares[rows]

    def _corners(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of the corners around points, and the points' shares in them (n, D + 1)."""
        dims = features.shape[1]
        raised = features @ _basis(dims).to(features) / (dims + 1)
        base = raised.round()
        rest = raised - base
        rank = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        # Rounding may leave the plane that the lattice lies in; this leads back to it.
        rank = rank + base.sum(1, keepdim=True).long()
        back = (rank < 0).long() - (rank > dims).long()
        rank, base, rest = rank + back * (dims + 1), base + back, rest - back
        ranked = torch.empty_like(rest).scatter_(1, rank, rest)
        first = 1 + ranked[:, -1:] - ranked[:, :1]
        shares = torch.cat([first, (ranked[:, :-1] - ranked[:, 1:]).flip(1)], 1)
        start = (base.long() * (dims + 1) * self._mix).sum(1)
        steps = [
            ((corner - (dims + 1) * (rank > dims - corner).long()) * self._mix).sum(1)
            for corner in range(dims + 1)
        ]
        return start[:, None] + torch.stack(steps, 1), shares

    def _neighbours(self, known: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The places of the corners before and after each along one direction."""
        step = self._mix.sum() - len(self._mix) * self._mix[axis]
        before, after = (self._places(known, codes) for codes in (known - step, known + step))
        return before, after

    def _places(self, known: Tensor, codes: Tensor) -> Tensor:
        place: Tensor = torch.searchsorted(known, codes).clamp_(max=len(known) - 1)
        place[known[place] != codes] = len(known)
        return place.to(torch.int32)


def _basis(dims: int) -> Tensor:
    """From features to the lattice's plane in one more dimension, scaled so that blurs agree."""
    basis = torch.zeros(dims, dims + 1, dtype=torch.float64)
    for axis in range(dims):
        basis[axis, : axis + 1] = 1
        basis[axis, axis + 1] = -(axis + 1)
        basis[axis] /= sqrt((axis + 1) * (axis + 2))
    return basis * (sqrt(2 / 3) * (dims + 1))
