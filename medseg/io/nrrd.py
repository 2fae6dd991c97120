"""NRRD: attached (.nrrd) and detached (.nhdr), raw or packed with gzip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.errors import Caution, StudyError
from medseg.io.described import Described
from medseg.io.geometry import Affine
from medseg.io.itk_geometry import located_at
from medseg.io.stream import ByteStream
from medseg.io.text_header import Fields, Keys, beside, invalid, lines_of, numbers, said_once, sides

_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: np.dtype(code) for code, names in _TYPES.items() for name in names.split("|")}
_KEYS = Keys.of(
    numbers=(
        "dimension, sizes, spacings, thicknesses, axis mins, axismins, axis maxs, axismaxs,"
        " min, max, old min, oldmin, old max, oldmax, block size, blocksize, line skip,"
        " lineskip, byte skip, byteskip, space dimension, space directions, space origin,"
        " measurement frame"
    ),
    words=(
        "type, endian, encoding, content, number, sample units, sampleunits, centers,"
        " centerings, labels, units, kinds, space, space units, data file, datafile"
    ),
)
_TO_RAS = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}
_UNITS = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001}
_PACKINGS: Mapping[str, Literal["plain", "gzip"]] = {"raw": "plain", "gzip": "gzip", "gz": "gzip"}
_VECTOR = re.compile(r"none|\(([^()]*)\)")


def describe_nrrd(stream: ByteStream, path: Path) -> Described:
    """Read an NRRD header.

    Raises StudyError E_HEADER_INVALID, E_DTYPE, E_NDIM or E_PATH_ESCAPE.
    """
    fields = _fields(stream)
    count = sides(_of(fields, "dimension"), "dimension", 1)[0]
    sizes = sides(_of(fields, "sizes"), "sizes", count)
    packing = _PACKINGS.get(_of(fields, "encoding").lower())
    if packing is None:
        raise invalid(f"the encoding {fields['encoding'][:20]!r} is not read; save as raw or gzip")
    for skip in ("line skip", "lineskip", "byte skip", "byteskip"):
        if fields.get(skip, "0") != "0":
            raise invalid(f"{skip} is not read; save the file as raw or gzip without it")
    vectors = _vectors(fields, count)
    spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    frames = _frames(sizes, spatial, fields)
    data_file = fields.get("data file", fields.get("datafile"))
    return Described(
        frames=frames,
        dtype=_dtype(fields),
        locate=lambda _: located_at(
            *_affine(fields, [vectors[axis] or () for axis in spatial]), frames, len(spatial)
        ),
        packing=packing,
        data_file=None if data_file is None else beside(path, data_file),
    )


def _fields(stream: ByteStream) -> Fields:
    lines = lines_of(stream)
    next(lines)  # the magic, which was looked at before
    fields: Fields = {}
    for line in lines:
        if not line:
            break
        key, colon, value = line.partition(":")
        # What is set by ":=" is no field of the format but a remark of whoever wrote it.
        if colon and not line.startswith("#") and not value.startswith("="):
            said_once(fields, key.strip().lower(), value.strip(), _KEYS)
    return fields


def _of(fields: Fields, key: str) -> str:
    if key not in fields:
        raise invalid(f"the NRRD header has no {key!r}")
    return fields[key]


def _dtype(fields: Fields) -> np.dtype[Any]:
    name = _of(fields, "type").lower()
    if name not in _DTYPES:
        raise StudyError("E_DTYPE", f"holds voxels of the type {name[:20]!r}, not numbers")
    dtype = _DTYPES[name]
    if dtype.itemsize == 1:
        return dtype
    order = _of(fields, "endian").lower()
    if order not in ("little", "big"):
        raise invalid(f"endian is little or big, not {order[:20]!r}")
    return dtype.newbyteorder("<" if order == "little" else ">")


def _vectors(fields: Fields, count: int) -> list[tuple[float, ...] | None]:
    """For each axis its direction in space, None where it has none."""
    if "space directions" not in fields:
        raise StudyError(
            "E_GEOMETRY_MISSING", "the NRRD header has no 'space directions'; left is not known"
        )
    found = [
        None if match.group() == "none" else numbers(match.group(1), "space directions")
        for match in _VECTOR.finditer(fields["space directions"])
    ]
    if len(found) != count:
        raise invalid(f"space directions are {len(found)} for {count} dimensions")
    return found


def _frames(
    sizes: tuple[int, ...], spatial: list[int], fields: Fields
) -> tuple[int, int, int, int]:
    first = spatial[0] if spatial else 0
    if any(size > 1 for size in sizes[:first]):
        what = fields.get("kinds", "").split(" ")[0] or "numbers"
        raise StudyError("E_DTYPE", f"has {sizes[0]} values a voxel ({what[:20]!r}), not one")
    inner = sizes[first:]
    together = spatial == list(range(first, first + len(spatial)))
    others = inner[len(spatial) :]
    if len(spatial) not in (2, 3) or not together or len(others) > 1:
        raise StudyError("E_NDIM", f"has the shape {sizes}, {len(spatial)} axes of it in space")
    x, y, z = (*inner[: len(spatial)], 1)[:3]
    return x, y, z, others[0] if others else 1


def _affine(fields: Fields, vectors: list[tuple[float, ...]]) -> tuple[Affine, tuple[Caution, ...]]:
    """The affine (4, 4) to RAS+ mm, and cautions about units."""
    space = fields.get("space", "").lower()
    flat = len(vectors) == 2 and fields.get("space dimension") == "2"
    if space not in _TO_RAS and not flat:
        raise StudyError(
            "E_GEOMETRY_MISSING",
            f"the NRRD header names {'no space' if not space else 'the space ' + repr(space[:30])},"
            " where left-posterior-superior or the like is wanted",
        )
    dimensions = 2 if flat else 3
    affine: Affine = np.eye(4)
    for axis, vector in enumerate(vectors):
        if len(vector) != dimensions:
            raise invalid(f"a space direction has {len(vector)} numbers, not {dimensions}")
        affine[:dimensions, axis] = vector
    origin = _of(fields, "space origin").strip("() ")
    affine[:dimensions, 3] = numbers(origin, "space origin", dimensions)
    factor, cautions = _factor(fields)
    affine[:3] *= factor
    return np.diag([*_TO_RAS.get(space, (-1, -1, 1)), 1]) @ affine, cautions


def _factor(fields: Fields) -> tuple[float, tuple[Caution, ...]]:
    names = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    factors = {_UNITS.get(name.lower(), 1.0) for name in names if name} or {1.0}
    if len(factors) > 1:
        raise invalid("space units differ from axis to axis")
    factor = factors.pop()
    if factor == 1.0:
        return factor, ()
    return factor, (Caution("W_UNITS", f"lengths in {names[0]!r} were turned into mm"),)
