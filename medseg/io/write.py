"""Masks as NIfTI: the scan's own place, the labels' names, and nothing else of the scan."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import OutputError
from medseg.image import Grid, Label, LabelMap, Labels, mask_dtype
from medseg.io.atomic import write_atomically
from medseg.io.geometry import NIFTI1_LONGEST, Geometry, tolerance_mm
from medseg.io.nifti_describe import COMMENT
from medseg.io.nifti_header import NIFTI1, NIFTI2

_CODES = {np.dtype(np.uint8): 2, np.dtype(np.uint16): 512} | {
    np.dtype(np.int16): 4,
    np.dtype(np.float32): 16,
}
_GZIP_LEVEL = 2
_MEMBER = 1 << 24
"""Bytes that are packed as one member of a gzip file."""


def write_mask(
    path: Path, mask: LabelMap | Sequence[LabelMap], geometry: Geometry | None = None
) -> str:
    """Write a mask, or one a frame, to ``.nii.gz`` or ``.nii``; the SHA-256 of its bytes.

    The header is new and has the scan's shape, affine, codes and units bit for bit from
    ``geometry`` (``Geometry.of`` the mask's grid if None), voxels are uint8 or uint16, and the
    label table stands in an extension. Equal masks give equal bytes. Raises OutputError, and
    ValueError where the mask does not lie on ``geometry``.
    """
    masks = [mask] if isinstance(mask, LabelMap) else list(mask)
    if not masks:
        raise ValueError("there is no mask to write")
    geometry = geometry or Geometry.of(masks[0].grid)
    for one in masks:
        _check_place(one.grid, geometry)
    name = path.name.lower()
    if not name.endswith((".nii.gz", ".nii")):
        raise OutputError("E_OUTPUT_NAME", "a mask's name ends in .nii.gz or .nii", path)
    raw = nifti_bytes(masks, geometry)
    return write_atomically(path, gzipped(raw) if name.endswith(".gz") else raw)


def write_map(
    path: Path,
    maps: Sequence[NDArray[np.uint8] | NDArray[np.uint16]],
    geometry: Geometry,
    step: float,
    stacked: bool = False,
) -> str:
    """Write numbers (X, Y, Z) that are multiples of ``step``, one map after another; the SHA-256.

    ``stacked`` gives a single map a fourth axis as well. ``geometry`` is the place of the voxels.
    The file ends in ``.nii.gz``. Raises OutputError.
    """
    kind = maps[0].dtype
    dims = (*maps[0].shape, len(maps)) if stacked else dims_of(geometry, len(maps))
    header = header_bytes(geometry, dims, kind, slope=step)
    voxels = [np.ascontiguousarray(one.T, kind.newbyteorder("<")).data for one in maps]
    return write_atomically(path, gzipped(b"".join([header, bytes(4), *voxels])))


def nifti_bytes(masks: Sequence[LabelMap], geometry: Geometry) -> bytes:
    """A whole NIfTI file, unpacked."""
    labels = masks[0].labels
    highest = max(int(mask.data.max()) for mask in masks)
    dtype = np.dtype(np.uint16 if highest > 255 else mask_dtype(labels))
    extension = _extension(labels)
    header = header_bytes(geometry, dims_of(geometry, len(masks)), dtype, len(extension))
    # The transpose of voxels that lie x fastest is contiguous: they are not copied.
    voxels = [np.ascontiguousarray(mask.data.T, dtype.newbyteorder("<")) for mask in masks]
    return b"".join([header, b"\1\0\0\0", extension, *(part.data for part in voxels)])


def gzipped(raw: bytes) -> bytes:
    """A gzip file without a time, a name or a system in its header.

    Large ones are members of equal length after each other, packed side by side in threads.
    """
    view = memoryview(raw)
    parts = [view[first : first + _MEMBER] for first in range(0, len(view), _MEMBER)] or [view]
    with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
        return b"".join(pool.map(_member, parts))


def _member(raw: memoryview) -> bytes:
    from isal import isal_zlib

    body: bytes = isal_zlib.compress(raw, _GZIP_LEVEL, -15)
    checks = isal_zlib.crc32(raw).to_bytes(4, "little") + (len(raw) % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + body + checks


def _check_place(grid: Grid, geometry: Geometry) -> None:
    if not grid.near(geometry.grid, tolerance_mm(geometry.grid)):
        raise ValueError(
            f"a mask on {grid.shape} {grid.axcodes} is not where its scan is,"
            f" {geometry.grid.shape} {geometry.grid.axcodes}"
        )


def dims_of(geometry: Geometry, frames: int) -> tuple[int, ...]:
    """The sides as the scan's header counts them, if it has that many frames."""
    if prod(geometry.dims[3:]) == frames:
        return geometry.dims
    return geometry.grid.shape if frames == 1 else (*geometry.grid.shape, frames)


def header_bytes(
    geometry: Geometry,
    dims: tuple[int, ...],
    dtype: np.dtype[Any],
    extension: int = 0,
    slope: float = 1.0,
) -> bytes:
    """A NIfTI header with what its place and its type need, and nothing else."""
    version = 2 if geometry.version == 2 or max(dims) > NIFTI1_LONGEST else 1
    layout = NIFTI1 if version == 1 else NIFTI2
    header = np.zeros((), layout.newbyteorder("<"))
    header["sizeof_hdr"] = layout.itemsize
    header["dim"] = (len(dims), *dims, *(1,) * (7 - len(dims)))
    header["datatype"] = _CODES[dtype]
    header["bitpix"] = 8 * dtype.itemsize
    header["pixdim"] = geometry.pixdim
    header["vox_offset"] = layout.itemsize + 4 + extension
    header["scl_slope"] = slope
    header["xyzt_units"] = geometry.xyzt_units
    header["qform_code"] = geometry.qform_code
    header["sform_code"] = geometry.sform_code
    header["quatern"] = geometry.quaternion
    header["qoffset"] = geometry.offset
    header["srow"] = geometry.srow
    magic = b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n"
    header["magic"] = np.frombuffer(magic, layout["magic"])[0]
    return header.tobytes()


def _extension(labels: Labels) -> bytes:
    """The label table as a NIfTI extension: a comment in JSON, as a pipeline spells labels."""
    table = {label.name: _spelt(label) for label in labels}
    text = json.dumps({"medseg": {"labels": table}}, ensure_ascii=False, separators=(",", ":"))
    data = text.encode()
    size = 8 + len(data)
    size += -size % 16
    return size.to_bytes(4, "little") + COMMENT.to_bytes(4, "little") + data.ljust(size - 8, b"\0")


def _spelt(label: Label) -> Any:
    values = label.values[0] if len(label.values) == 1 else list(label.values)
    more = {"colour": label.colour, "code": label.code}
    said = {key: value for key, value in more.items() if value is not None}
    if not said:
        return values
    return {"value" if len(label.values) == 1 else "values": values, **said}
