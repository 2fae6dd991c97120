"""Good files, and how to make them bad at one place.

Bytes are changed where the NIfTI standard says, without medseg's own knowledge of the format.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (5, 6, 7)
AFFINE = np.array([[-2.0, 0, 0, 20], [0, -2.0, 0, 30], [0, 0, 3.0, -40], [0, 0, 0, 1]])
_PLACES = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}
_PLACES_2 = {"dim": (16, "8q"), "vox_offset": (168, "q"), "magic": (4, "8s")}
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 6 7
space directions: (2,0,0) (0,2,0) (0,0,3)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (1,2,3)

"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 1 2 3
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 2 2 3
DimSize = 5 6 7
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def voxels(shape: tuple[int, ...] = SHAPE, dtype: str = "i2") -> np.ndarray:
    """Many different values, none of them repeated from slice to slice."""
    count = int(np.prod(shape))
    return (np.arange(count) % 120).reshape(shape, order="F").astype(dtype)


RAW = voxels().tobytes(order="F")


def nifti(data: np.ndarray | None = None, affine: np.ndarray = AFFINE, **fields: Any) -> bytes:
    """A whole NIfTI-1 file with both forms set, then ``fields`` put where they belong."""
    return patched(_whole(nib.Nifti1Image, data, affine), _PLACES, **fields)


def nifti2(data: np.ndarray | None = None, affine: np.ndarray = AFFINE, **fields: Any) -> bytes:
    """The same in NIfTI-2."""
    return patched(_whole(nib.Nifti2Image, data, affine), _PLACES_2, **fields)


def _whole(kind: type, data: np.ndarray | None, affine: np.ndarray) -> bytes:
    data = voxels() if data is None else data
    image = kind(data, affine, dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    return image.to_bytes()


def patched(raw: bytes, places: dict[str, tuple[int, str]] = _PLACES, **fields: Any) -> bytes:
    """The bytes with header fields overwritten, little-endian."""
    data = bytearray(raw)
    for name, value in fields.items():
        place, form = places[name]
        many = value if isinstance(value, tuple | list | np.ndarray) else (value,)
        struct.pack_into(f"<{form}", data, place, *many)
    return bytes(data)


def gz(data: bytes) -> bytes:
    """Packed by the standard library, not by what medseg reads with."""
    return gzip.compress(data, mtime=0)


def rows_of(affine: np.ndarray) -> tuple[float, ...]:
    """The twelve numbers of an sform."""
    return tuple(np.asarray(affine)[:3].ravel().tolist())


def sheared(degrees: float) -> np.ndarray:
    """The usual affine, its slices shifted as by a tilted gantry."""
    affine = AFFINE.copy()
    affine[1, 2] = 3 * np.tan(np.radians(degrees))
    return affine


def pair(path: Path, magic: bytes = b"ni1\0", keep: int | None = None) -> None:
    """A .hdr and an .img beside it."""
    raw = patched(nifti(), magic=magic, vox_offset=0)
    path.write_bytes(raw[:348])
    path.with_suffix(".img").write_bytes(raw[352:][:keep])


def half(path: Path) -> None:
    """A .hdr without its .img."""
    pair(path)
    path.with_suffix(".img").unlink()


def text_image(header: str, changes: dict[str, str], data: bytes = RAW) -> bytes:
    """An NRRD or MetaImage file with parts of its header replaced."""
    for old, new in changes.items():
        assert old in header, old
        header = header.replace(old, new, 1)
    return header.encode() + data


def dims(*sides: int) -> tuple[int, ...]:
    """NIfTI's dim for these sides."""
    return (len(sides), *sides, *(1,) * (7 - len(sides)))
