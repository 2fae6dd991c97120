"""Patches read from elsewhere: affines, bends, blurs and shades of whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, grid_sample, interpolate

Matrix = NDArray[np.float64]


def affine(angles: Sequence[float], scales: Sequence[float], shifts: Sequence[float]) -> Matrix:
    """Where voxels are read from, about the middle: (dims, dims + 1), in the order of MONAI.

    Turned about x, y and z in radians (a 2D patch by the first angle), after a shift in voxels,
    after scaling.
    """
    dims = len(scales)
    turn = np.eye(dims)
    planes = [(1, 2), (2, 0), (0, 1)] if dims == 3 else [(0, 1)]
    for angle, (one, other) in zip(angles, planes, strict=False):
        single = np.eye(dims)
        single[one, one] = single[other, other] = cos(angle)
        single[other, one], single[one, other] = sin(angle), -sin(angle)
        turn = turn @ single
    return np.concatenate([turn * np.asarray(scales), (turn @ np.asarray(shifts))[:, None]], 1)


def read_by(matrices: Sequence[Matrix], like: Tensor) -> Tensor:
    """The places (B, *space, dims), in voxels, that affines about the middle read."""
    middle = [(side - 1) / 2 for side in like.shape[2:]]
    sides = [torch.arange(side) - half for side, half in zip(like.shape[2:], middle, strict=True)]
    index = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).to(like)
    matrix = torch.from_numpy(np.stack(matrices)).to(like)
    turned = torch.einsum("...d,bed->b...e", index, matrix[..., :-1])
    moved = matrix[..., -1].reshape(-1, *(1,) * len(middle), len(middle))
    return turned + moved + like.new_tensor(middle)


def bent(points: Sequence[NDArray[np.float64]], like: Tensor) -> Tensor:
    """The places (B, *space, dims) that each voxel reads, moved with ``points (dims, *coarse)``."""
    space = like.shape[2:]
    coarse = torch.from_numpy(np.stack(points)).to(like)
    smooth = "trilinear" if len(space) == 3 else "bilinear"
    field = interpolate(coarse, size=tuple(space), mode=smooth, align_corners=True)
    sides = [torch.arange(side) for side in space]
    index = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).to(like)
    return index + field.movedim(1, -1)


def moved(images: Tensor, targets: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Images read linearly and targets by nearest neighbour at ``places``, in voxels."""
    sides = places.new_tensor(images.shape[2:])
    # grid_sample counts from -1 to 1 and names the last axis first.
    grid = ((2 * places + 1) / sides - 1).flip(-1)
    smooth = grid_sample(images, grid, mode="bilinear", align_corners=False)
    near = grid_sample(targets.to(grid), grid, mode="nearest", align_corners=False)
    return smooth, near.to(targets)


def blurred(images: Tensor, widths: Sequence[Sequence[float]]) -> Tensor:
    """Each image blurred by a Gaussian of its own widths in voxels, an axis after the other."""
    count, channels, *space = images.shape
    convolve = conv3d if len(space) == 3 else conv2d
    found = images.reshape(1, count * channels, *space)
    for axis in range(len(space)):
        reach = max(int(max(one[axis], 0.5 / 4) * 4 + 0.5) for one in widths)
        kernels = torch.stack([_gaussian(one[axis], reach) for one in widths]).to(images)
        shape, borders = [1] * len(space), [0] * len(space)
        shape[axis], borders[axis] = 2 * reach + 1, reach
        weight = kernels.repeat_interleave(channels, 0).reshape(count * channels, 1, *shape)
        found = convolve(found, weight, padding=borders, groups=count * channels)
    return found.reshape(images.shape)


def _gaussian(width: float, reach: int) -> Tensor:
    """A Gaussian over the spans of voxels, cut off at 4 widths, that sums up to 1."""
    tail = max(int(max(width, 1e-9) * 4 + 0.5), 1)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    t = 0.70710678 / max(width, 1e-9)
    span = 0.5 * ((t * (x + 0.5)).erf() - (t * (x - 0.5)).erf())
    span = torch.where(x.abs() <= tail, span.clamp(min=0), 0.0)
    return (span / span.sum()).float()


def legendre(coefficients: NDArray[Any], space: Sequence[int]) -> Tensor:
    """A polynomial field over [-1, 1] along each axis, of the third degree at most."""
    sides = [np.linspace(-1, 1, side, dtype=np.float32) for side in space]
    # Their stubs know no list of axes.
    series: Any = np.polynomial.legendre
    if len(space) == 2:
        square = np.zeros((4, 4))
        square[np.tril_indices(4)] = coefficients
        return torch.from_numpy(series.leggrid2d(*sides, square))
    cube = np.zeros((4, 4, 4))
    of_degree = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    cube[tuple(np.transpose(of_degree))] = coefficients
    return torch.from_numpy(series.leggrid3d(*sides, cube))
