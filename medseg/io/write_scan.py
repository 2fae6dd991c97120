"""Scans as NIfTI or NRRD, with a new header: voxels and their place, and nothing of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import OutputError
from medseg.image import Volume
from medseg.io.atomic import write_atomically
from medseg.io.geometry import Geometry
from medseg.io.write import dims_of, gzipped, header_bytes

SUFFIXES = (".nii.gz", ".nii", ".nrrd")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_scan(path: Path, frames: Sequence[Volume], geometry: Geometry, channel: int = 0) -> str:
    """Write one channel of a scan's frames to .nii.gz, .nii or .nrrd; the SHA-256 of its bytes.

    Whole numbers within int16 are written as such, all others as float32. Raises OutputError.
    """
    data = [frame.data[channel] for frame in frames]
    dtype = np.dtype(np.int16 if all(map(_whole, data)) else np.float32)
    voxels = [np.ascontiguousarray(one.T, dtype.newbyteorder("<")).tobytes() for one in data]
    name = path.name.lower()
    if name.endswith(".nrrd") and len(frames) == 1:
        raw = _nrrd_header(geometry, dtype) + gzipped(voxels[0])
    elif name.endswith((".nii.gz", ".nii")):
        head = header_bytes(geometry, dims_of(geometry, len(frames)), dtype)
        raw = b"".join([head, bytes(4), *voxels])
        raw = gzipped(raw) if name.endswith(".gz") else raw
    else:
        raise OutputError(
            "E_OUTPUT_NAME", f"a scan's name ends in {', '.join(SUFFIXES)} (frames: .nii)", path
        )
    return write_atomically(path, raw)


def _whole(data: NDArray[Any]) -> bool:
    low, high = float(data.min()), float(data.max())
    return low >= -32768 and high <= 32767 and bool((data == np.rint(data)).all())


def _nrrd_header(geometry: Geometry, dtype: np.dtype[Any]) -> bytes:
    affine = _TO_LPS @ geometry.affine
    vectors = ["(" + ",".join(repr(float(x)) for x in affine[:3, axis]) + ")" for axis in range(4)]
    lines = (
        "NRRD0004",
        f"type: {'short' if dtype == np.int16 else 'float'}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, geometry.shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    )
    return ("\n".join(lines) + "\n\n").encode()
