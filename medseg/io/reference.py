"""Label masks from files: whole numbers, exactly, where the scan is."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid, LabelMap, Labels, mask_dtype
from medseg.image.labels import HIGHEST_VALUE
from medseg.io.dicom.drawings import are_outlines, is_drawing, read_drawing
from medseg.io.dicom.drawn import Structure, matched, together
from medseg.io.dicom.index import looks_like_dicom
from medseg.io.geometry import tolerance_mm
from medseg.io.image_file import naming, opened
from medseg.io.options import ReadOptions
from medseg.io.seg_nrrd import SUFFIX, read_seg_nrrd
from medseg.io.sizes import by
from medseg.io.voxels import read_exact

_ROUNDING = 1e-3
_BLOCK = 1 << 20
Whole = NDArray[np.integer[Any]]


def read_labels(
    path: Path,
    labels: Labels,
    like: Grid | None = None,
    options: ReadOptions | None = None,
) -> tuple[LabelMap, tuple[Caution, ...]]:
    """Read a mask; its values are 0, those of ``labels`` and its ignore value.

    With ``like`` the mask must lie on that grid within ``tolerance_mm``, or have its axes
    turned and swapped only; it comes back on ``like`` itself. A SEG, an RTSTRUCT or a .seg.nrrd
    is read by the names of its structures, and outlines need ``like``. Raises StudyError
    E_LABEL_NOT_INTEGER, E_LABEL_VALUES, E_LABEL_GEOMETRY, and all that a scan's file can raise.
    """
    if looks_like_dicom(path):
        return read_drawing(path, labels, like, options)
    if path.name.lower().endswith(SUFFIX):
        named = read_seg_nrrd(path)
        if named is not None and _named_alike(named[0].labels, labels, options):
            return _renamed(*named, labels, like, options or ReadOptions())
    data, grid, cautions = _read(path, options)
    with naming(path):
        mask = _in_table(data, labels)
        if like is not None:
            mask, more = _onto(mask, grid, like)
            grid, cautions = like, cautions + more
    return LabelMap(mask, grid, labels), cautions


def read_label_values(path: Path, options: ReadOptions | None = None) -> tuple[Whole, Grid]:
    """The whole numbers (X, Y, Z) of a mask and its grid, without a table to hold them against.

    Raises StudyError E_LABEL_NOT_INTEGER, and all that a scan's file can raise.
    """
    if looks_like_dicom(path):
        mask, _ = read_drawing(path, None, None, options)
        return mask.data, mask.grid
    data, grid, _ = _read(path, options)
    return data, grid


def has_no_grid(path: Path) -> bool:
    """Whether a reference is outlines, whose voxels are those of what they are laid on."""
    return looks_like_dicom(path) and are_outlines(path)


def is_drawn(path: Path) -> bool:
    """Whether a mask is a SEG or an RTSTRUCT: drawn on some slices of a scan, and no more of it."""
    return is_drawing(path)


def values_in(path: Path) -> frozenset[int]:
    """The values of a mask but 0, whatever they mean. Raises as ``read_label_values``."""
    data, _ = read_label_values(path)
    found: set[int] = set()
    flat = data.ravel(order="K")
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        # Most blocks of a mask hold one value, which a comparison finds sooner than a sort.
        found |= {int(block[0])} if (block == block[0]).all() else set(np.unique(block).tolist())
    return frozenset(found - {0})


def _read(path: Path, options: ReadOptions | None) -> tuple[Whole, Grid, tuple[Caution, ...]]:
    options = replace(options or ReadOptions(), frames="refuse")
    with opened(path, options) as image:
        raw = read_exact(image)
        cautions = image.cautions + image.finish()
        data, more = _whole(raw)
        return data, image.geometry.grid, cautions + more


def _whole(data: NDArray[Any]) -> tuple[Whole, tuple[Caution, ...]]:
    """Floats as whole numbers, where they are some within 0.001."""
    if data.dtype.kind in "iu":
        return data, ()
    if not np.isfinite(data).all():
        raise StudyError("E_NONFINITE", "the mask holds NaN or infinite voxels")
    rounded = np.rint(data)
    off = np.abs(data - rounded)
    if off.max() > _ROUNDING:
        some = ", ".join(f"{value:g}" for value in np.unique(data[off > _ROUNDING])[:5])
        raise StudyError("E_LABEL_NOT_INTEGER", f"holds {some}; a mask's voxels are whole numbers")
    beyond = np.abs(rounded).max() >= 2**62
    if beyond:
        raise StudyError("E_LABEL_VALUES", f"holds values up to {np.abs(rounded).max():g}")
    if not off.any():
        return rounded.astype(np.int64), ()
    told = f"values were rounded to whole numbers, by up to {off.max():.2g}"
    return rounded.astype(np.int64), (Caution("W_LABEL_ROUNDED", told),)


def _named_alike(theirs: Labels, ours: Labels, options: ReadOptions | None) -> bool:
    """Whether segments are to be told by their names and not by their values."""
    rois = (options or ReadOptions()).rois
    return any(rois.get(name, name) in theirs.names for name in ours.names)


def _renamed(
    mask: LabelMap,
    cautions: tuple[Caution, ...],
    labels: Labels,
    like: Grid | None,
    options: ReadOptions,
) -> tuple[LabelMap, tuple[Caution, ...]]:
    """A mask with a table of its own as one of ``labels``, by the names of both."""
    theirs = [Structure(one.values[0], one.name, one.code or "") for one in mask.labels]
    found, told = matched(labels, theirs, options.rois)
    ours, more = together(mask.grid, labels, found, lambda number: mask.data == number)
    cautions += told + more
    if like is None:
        return ours, cautions
    data, turned = _onto(ours.data, mask.grid, like)
    return LabelMap(data, like, labels), cautions + turned


def _in_table(data: Whole, labels: Labels) -> NDArray[Any]:
    """The voxels as uint8 or uint16; E_LABEL_VALUES for values the table does not have."""
    allowed = {0, *labels.values} | ({labels.ignore} - {None})
    low, high = int(data.min()), int(data.max())
    if low < 0 or high > HIGHEST_VALUE:
        raise _strange([low] if low < 0 else [high], labels)
    dtype = mask_dtype(labels)
    seen = np.zeros(HIGHEST_VALUE + 1, bool)
    flat = data.ravel(order="K")
    for start in range(0, flat.size, _BLOCK):
        seen[flat[start : start + _BLOCK]] = True
    strange = sorted(set(np.flatnonzero(seen).tolist()) - allowed)
    if strange:
        raise _strange(strange, labels)
    return data.astype(dtype, copy=False)


def _strange(values: list[int], labels: Labels) -> StudyError:
    shown = ", ".join(map(str, values[:8])) + (" and more" if len(values) > 8 else "")
    table = ", ".join(f"{'+'.join(map(str, label.values))} {label.name}" for label in labels)
    ignore = "" if labels.ignore is None else f", {labels.ignore} to ignore"
    return StudyError(
        "E_LABEL_VALUES", f"holds {shown}, and the table has 0 background, {table}{ignore}"
    )


def _onto(data: NDArray[Any], grid: Grid, like: Grid) -> tuple[NDArray[Any], tuple[Caution, ...]]:
    """The voxels in the order of ``like``; E_LABEL_GEOMETRY where that is not only an order."""
    tolerance = tolerance_mm(like)
    if grid.near(like, tolerance):
        return data, ()
    for axes in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            if _turned(grid, axes, flips).near(like, tolerance):
                turned = data.transpose(axes)[tuple(slice(None, None, step) for step in flips)]
                told = f"the mask lay as {grid.axcodes} and was turned to {like.axcodes}"
                # Flipped views would not do: torch refuses strides below zero.
                return np.asfortranarray(turned), (Caution("W_LABEL_REORIENTED", told),)
    if grid.shape != like.shape:
        how = f"has {by(grid.shape)} voxels and the scan {by(like.shape)}"
    else:
        how = f"lies up to {grid.farthest_corner_mm(like):.2f} mm away from the scan"
    raise StudyError(
        "E_LABEL_GEOMETRY", f"{how} ({grid.axcodes} and {like.axcodes}); resample it first"
    )


def _turned(grid: Grid, axes: tuple[int, ...], flips: tuple[int, ...]) -> Grid:
    """The grid of ``data.transpose(axes)`` flipped where ``flips`` has -1."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    shape = [grid.shape[axis] for axis in axes]
    for new, (old, step) in enumerate(zip(axes, flips, strict=True)):
        turn[old, new] = step
        turn[old, 3] = 0 if step > 0 else grid.shape[old] - 1
    return Grid(grid.affine @ turn, (shape[0], shape[1], shape[2]))
