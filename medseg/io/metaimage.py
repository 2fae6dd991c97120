"""MetaImage: .mha in one file, .mhd with its voxels beside it, raw or packed with zlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.errors import Caution, StudyError
from medseg.io.described import Described
from medseg.io.geometry import Affine
from medseg.io.itk_geometry import located_at
from medseg.io.stream import ByteStream
from medseg.io.text_header import (
    Fields,
    Keys,
    beside,
    invalid,
    lines_of,
    numbers,
    quoted,
    said_once,
    sides,
)

_TYPES = {
    "MET_CHAR": np.int8,
    "MET_UCHAR": np.uint8,
    "MET_SHORT": np.int16,
    "MET_USHORT": np.uint16,
    "MET_INT": np.int32,
    "MET_UINT": np.uint32,
    "MET_LONG": np.int32,
    "MET_ULONG": np.uint32,
    "MET_LONG_LONG": np.int64,
    "MET_ULONG_LONG": np.uint64,
    "MET_FLOAT": np.float32,
    "MET_DOUBLE": np.float64,
}
_LAST = "ElementDataFile"
_SYNONYMS = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_KEYS = Keys.of(
    numbers=(
        "NDims, DimSize, Offset, TransformMatrix, CenterOfRotation, ElementSpacing,"
        " ElementSize, ElementNumberOfChannels, ElementMin, ElementMax, ElementNBits,"
        " CompressedDataSize, HeaderSize, ElementToIntensityFunctionSlope,"
        " ElementToIntensityFunctionOffset"
    ),
    words=(
        "ObjectType, ObjectSubType, TransformType, Name, ID, ParentID, Comment, Color,"
        " AcquisitionDate, Modality, SequenceID, AnatomicalOrientation, DistanceUnits,"
        " BinaryData, BinaryDataByteOrderMSB, CompressedData, CompressionLevel, ElementType"
    ),
)
_UNITS = {"mm": 1.0, "cm": 10.0, "um": 0.001}
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def describe_meta(stream: ByteStream, path: Path) -> Described:
    """Read a MetaImage header.

    Raises StudyError E_TRUNCATED, E_HEADER_INVALID, E_DTYPE, E_NDIM, E_SCALING or
    E_PATH_ESCAPE.
    """
    fields = _fields(stream)
    count = sides(_of(fields, "NDims"), "NDims", 1)[0]
    sizes = sides(_of(fields, "DimSize"), "DimSize", count)
    if count not in (2, 3, 4):
        raise StudyError("E_NDIM", f"has {count} dimensions; a scan has 2 or 3, or 4 with frames")
    x, y, z, t = (*sizes, 1, 1)[:4]
    _refuse_unread(fields)
    return Described(
        frames=(x, y, z, t),
        dtype=_dtype(fields),
        locate=lambda _: located_at(*_affine(fields, count), (x, y, z, t), min(count, 3)),
        packing=_packing(fields, stream),
        data_file=None if fields[_LAST].upper() == "LOCAL" else beside(path, fields[_LAST]),
    )


def _fields(stream: ByteStream) -> Fields:
    fields: Fields = {}
    for line in lines_of(stream):
        key, equals, value = line.partition("=")
        if equals:
            said_once(fields, _SYNONYMS.get(key.strip(), key.strip()), value.strip(), _KEYS)
        if _LAST in fields:
            return fields
    raise StudyError("E_TRUNCATED", "the MetaImage header ends before its ElementDataFile")


def _of(fields: Fields, key: str) -> str:
    if key not in fields:
        raise invalid(f"the MetaImage header has no {key}")
    return fields[key]


def _true(fields: Fields, key: str, otherwise: bool) -> bool:
    return fields.get(key, str(otherwise))[:1].upper() in ("T", "1")


def _refuse_unread(fields: Fields) -> None:
    if not _true(fields, "BinaryData", True):
        raise invalid("voxels written as text are not read; save the file as binary")
    if fields.get("HeaderSize", "0") != "0":
        raise invalid(f"HeaderSize {quoted(fields['HeaderSize'])} is not read; save without it")
    if fields[_LAST].upper().startswith("LIST") or "%" in fields[_LAST]:
        raise invalid("voxels in a list of files are not read; save the image as one .mha")
    slope = numbers(fields.get("ElementToIntensityFunctionSlope", "1"), "the slope", 1)
    shift = numbers(fields.get("ElementToIntensityFunctionOffset", "0"), "the offset", 1)
    if slope != (1.0,) or shift != (0.0,):
        raise StudyError(
            "E_SCALING", "readers do not agree on ElementToIntensityFunction; save without it"
        )


def _dtype(fields: Fields) -> np.dtype[Any]:
    name = _of(fields, "ElementType")
    values = fields.get("ElementNumberOfChannels", "1")
    if values != "1":
        raise StudyError("E_DTYPE", f"has {quoted(values)} values a voxel (colours?), not one")
    if name not in _TYPES:
        raise StudyError("E_DTYPE", f"holds voxels of the type {name[:30]!r}, not numbers")
    order: Literal["<", ">"] = ">" if _true(fields, "BinaryDataByteOrderMSB", False) else "<"
    return np.dtype(_TYPES[name]).newbyteorder(order)


def _packing(fields: Fields, stream: ByteStream) -> Literal["plain", "zlib"]:
    if not _true(fields, "CompressedData", False):
        return "plain"
    size = sides(fields.get("CompressedDataSize", "1"), "CompressedDataSize", 1)[0]
    if fields[_LAST].upper() == "LOCAL" and size > stream.room:
        raise StudyError(
            "E_TRUNCATED", f"holds {stream.room} of {size} packed bytes; copy the file again"
        )
    return "zlib"


def _affine(fields: Fields, count: int) -> tuple[Affine, tuple[Caution, ...]]:
    """The affine (4, 4) to RAS+ mm, and cautions about units."""
    for key in ("TransformMatrix", "Offset"):
        if key not in fields:
            raise StudyError(
                "E_GEOMETRY_MISSING", f"the MetaImage header has no {key}; left is not known"
            )
    if "ElementSpacing" not in fields:
        raise StudyError("E_SPACING", "the MetaImage header has no ElementSpacing")
    space = min(count, 3)
    # Each axis is a row of the file's matrix, and a column of ours.
    turn = numbers(fields["TransformMatrix"], "TransformMatrix", count * count)
    spacing = np.array(numbers(fields["ElementSpacing"], "ElementSpacing", count))
    if not (spacing > 0).all():
        raise StudyError("E_SPACING", f"ElementSpacing is {spacing.tolist()}")
    affine: Affine = np.eye(4)
    affine[:space, :space] = (np.reshape(turn, (count, count)).T * spacing)[:space, :space]
    affine[:space, 3] = numbers(fields["Offset"], "Offset", count)[:space]
    unit = fields.get("DistanceUnits", "mm").lower()
    factor = _UNITS.get(unit, 1.0)
    affine[:3] *= factor
    cautions = (Caution("W_UNITS", f"lengths in {unit!r} were turned into mm"),)
    return _TO_RAS @ affine, () if factor == 1.0 else cautions
