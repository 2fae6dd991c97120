"""Shapes onto voxels: intensities with partial volume, labels where a voxel is mostly inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantoms.shapes import Points, Shape

_COARSE_MM = 12.0


@dataclass(frozen=True)
class Part:
    """A structure: where it is, how bright, and its label (None: it leaves labels alone).

    ``texture`` is added inside; ``edge_mm`` is how softly it ends.
    """

    shape: Shape
    value: float
    label: int | None = None
    texture: Shape | None = None
    edge_mm: float = 0.0


def painted(
    parts: Sequence[Part], points: Points, voxel_mm: float, ground: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Intensities and labels of points (3, X, Y, Z); later parts lie over earlier ones."""
    image = np.full(points.shape[1:], ground, np.float32)
    labels = np.zeros(points.shape[1:], np.uint8)
    for part in parts:
        box = _box_of(part.shape, points, voxel_mm)
        if box is None:
            continue
        here = points[(slice(None), *box)]
        distance = part.shape(here)
        share = np.clip(0.5 - distance / (voxel_mm + part.edge_mm), 0, 1)
        value = part.value if part.texture is None else part.value + part.texture(here)
        image[box] += share * (value - image[box])
        if part.label is not None:
            labels[box][distance < 0] = part.label
    return image, labels


def _box_of(shape: Shape, points: Points, voxel_mm: float) -> tuple[slice, slice, slice] | None:
    """Where a shape may be, found on every few voxels; most are small, and looking is dear."""
    step = max(2, round(_COARSE_MM / voxel_mm))
    near = shape(points[:, ::step, ::step, ::step]) < 2 * _COARSE_MM
    if not near.any():
        return None
    spans = []
    for axis, side in enumerate(points.shape[1:]):
        rows = np.flatnonzero(np.moveaxis(near, axis, 0).reshape(near.shape[axis], -1).any(1))
        spans.append(slice(max(0, (rows[0] - 1) * step), min(side, (rows[-1] + 2) * step)))
    return (spans[0], spans[1], spans[2])


def voxel_points(affine: NDArray[np.float64], shape: Sequence[int], z: slice) -> Points:
    """World positions (3, X, Y, rows) of the voxels of some slices."""
    rows = np.arange(shape[2])[z]
    index = np.stack(
        np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), rows, indexing="ij")
    ).astype(np.float32)
    turned = np.tensordot(affine[:3, :3].astype(np.float32), index, 1)
    return turned + affine[:3, 3].astype(np.float32).reshape(3, 1, 1, 1)
