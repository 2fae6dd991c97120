"""What the interactive viewer is given: the scan windowed and reduced, masks with outlines."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap, Volume
from medseg.image.resampling import resample, resample_labels
from medseg.run.report.drawing import REFERENCE, colours
from medseg.run.report.material import Material
from medseg.run.report.slices import Window

MOST_VOXELS = 3_000_000
"""Packed and written as text, these are 4 MB where nothing of them can be packed."""
_ENOUGH_VOXELS = 1_500_000
_FINEST = 3
INSIDE, EDGE = 1, 2


def fitted(grid: Grid) -> Grid:
    """The grid, a coarser one of at most MOST_VOXELS, or a finer one where there are few.

    Outlines are a voxel wide, so that those of small scans would hide what they surround.
    """
    count = int(np.prod(grid.shape))
    finer = min(_FINEST, int((_ENOUGH_VOXELS / count) ** (1 / 3)))
    if count <= MOST_VOXELS:
        return grid.resized([side * finer for side in grid.shape]) if finer > 1 else grid
    # Coarse axes stay as they are while the fine ones are reduced.
    spacing = np.array(grid.spacing_mm)
    side, coarse = float(spacing.min()), grid
    while np.prod(coarse.shape) > MOST_VOXELS:
        side *= 1.02
        coarse = grid.spaced(np.maximum(spacing, side).tolist())
    return coarse


def volumes(material: Material, window: Window | None) -> list[dict[str, Any]]:
    """The scan, the reference and each run's mask: name, kind, colour, and base64 of .nii.gz.

    In masks INSIDE is 1 and EDGE 2: the viewer does not outline label maps by itself.
    """
    grid = fitted(material.grid)
    base = np.zeros(grid.shape, np.uint8)
    if material.scan is not None and window is not None:
        image = Volume(material.scan[None], material.grid)
        base = window.applied(resample(image, grid, "linear").data[0])
    told = [{"name": "scan", "kind": "scan", "colour": "", "data": packed(base, grid)}]
    named = colours(list(material.outlined))
    if material.reference is not None:
        data = packed(edged(material.reference, grid), grid)
        called = material.reference_name
        told.append({"name": called, "kind": "reference", "colour": REFERENCE, "data": data})
    for place, (name, mask) in enumerate(material.outlined.items()):
        data = packed(edged(mask, grid), grid)
        kind = f"run{place}"
        told.append({"name": name, "kind": kind, "colour": named[name],
                     "data": data})  # fmt: skip
    return told


def edged(mask: LabelMap, grid: Grid) -> NDArray[np.uint8]:
    """INSIDE in labels, EDGE where one of the six neighbours has another value."""
    data = resample_labels(mask, grid).data
    known = np.isin(data, sorted(mask.labels.values))
    data = np.where(known, data, 0)
    padded = np.pad(data, 1)
    inner = np.ones(data.shape, bool)
    for axis in range(3):
        for step in (-1, 1):
            moved = np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
            inner &= moved == data
    result = np.where(known, EDGE, 0).astype(np.uint8)
    result[known & inner] = INSIDE
    return result


def packed(data: NDArray[np.uint8], grid: Grid) -> str:
    """A NIfTI of small numbers, packed, as text; the same bytes each time."""
    import nibabel

    image = nibabel.Nifti1Image(np.ascontiguousarray(data), grid.affine)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(image.to_bytes(), 9, mtime=0)).decode()
