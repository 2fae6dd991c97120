"""NIfTI-1 and -2, single files and pairs, from their first byte to their first voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg.errors import Caution, StudyError
from medseg.io.described import Described
from medseg.io.nifti_geometry import located
from medseg.io.nifti_header import NiftiHeader, read_header
from medseg.io.sizes import spaced
from medseg.io.stream import ByteStream

PAIR_DATA = (".img", ".img.gz")
PAIR_HEADER = (".hdr", ".hdr.gz")
COMMENT = 6
OWN_MARK = b'{"medseg"'
"""How the extension of a mask that medseg wrote begins."""
_MOST_EXTENSIONS = 1 << 22
_EXTENDER = 4


def describe_nifti(stream: ByteStream, path: Path) -> Described:
    """Read a NIfTI header and its extensions.

    Raises StudyError E_TRUNCATED, E_HEADER_INVALID, E_GEOMETRY_MISSING, E_DTYPE, E_NDIM or
    E_SCALING.
    """
    header = read_header(stream, path.name.lower().endswith(PAIR_HEADER + PAIR_DATA))
    cautions, own_mask, skip = header.cautions, False, header.voxels_at
    if header.single:
        more, own_mask = _extensions(stream, header)
        cautions += more
        skip -= stream.position
    return Described(
        frames=header.frames,
        dtype=header.dtype,
        locate=lambda options: located(header, options.geometry),
        skip=skip,
        slope=header.slope,
        inter=header.inter,
        packing="plain" if header.single else "perhaps gzip",
        data_file=None if header.single else _data_of(path),
        cautions=cautions,
        own_mask=own_mask,
    )


def stem_of(path: Path) -> Path:
    """The path without .hdr, .img or the like, and without .gz."""
    name = path.name
    for ending in (*PAIR_DATA, *PAIR_HEADER, ".nii.gz", ".nii"):
        if name.lower().endswith(ending):
            return path.with_name(name[: -len(ending)])
    return path


def _data_of(path: Path) -> Path:
    """The .img that belongs to a .hdr; the first that is there."""
    stem = stem_of(path)
    first = stem.with_name(stem.name + PAIR_DATA[0])
    names = [stem.name + ending for ending in PAIR_DATA]
    there = (stem.with_name(spelt) for name in names for spelt in (name, name.upper()))
    return next((place for place in there if place.exists()), first)


def _extensions(stream: ByteStream, header: NiftiHeader) -> tuple[tuple[Caution, ...], bool]:
    """Follow the extensions up to the voxels; whether one of them is medseg's own.

    Raises StudyError E_HEADER_INVALID where one reaches into the voxels, or where the voxels
    would begin behind the end of the file.
    """
    begin = stream.position
    between = header.voxels_at - begin
    raw = stream.peek(min(between, _MOST_EXTENSIONS))
    at, own = _EXTENDER, False
    announced = raw[:1] not in (b"", b"\0")
    if not announced and between > stream.room:
        raise _beyond(header, stream)
    order: Literal["big", "little"] = "big" if header.order == ">" else "little"
    while announced and at + 8 <= len(raw):
        size = int.from_bytes(raw[at : at + 4], order, signed=True)
        code = int.from_bytes(raw[at + 4 : at + 8], order, signed=True)
        if at + size > between:
            raise StudyError(
                "E_HEADER_INVALID",
                f"an extension of {spaced(size)} bytes reaches beyond vox_offset"
                f" {spaced(header.voxels_at)}",
            )
        if size < 16 or size % 16:
            told = f"an extension says it has {size} bytes, no multiple of 16; it was passed over"
            return (Caution("W_EXTENSION", told),), own
        own = own or (code == COMMENT and raw[at + 8 : at + size].startswith(OWN_MARK))
        at += size
    return (), own


def _beyond(header: NiftiHeader, stream: ByteStream) -> StudyError:
    return StudyError(
        "E_HEADER_INVALID",
        f"vox_offset is {spaced(header.voxels_at)}, behind the end of the file"
        f" ({spaced(stream.position + stream.room)} bytes)",
    )
