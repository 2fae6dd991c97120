"""``.seg.nrrd``: segmentations as 3D Slicer has them, with names, colours and codes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid, Label, LabelMap, Labels, mask_dtype
from medseg.image.labels import HIGHEST_VALUE
from medseg.io.atomic import write_atomically
from medseg.io.image_file import naming
from medseg.io.itk_geometry import located_at
from medseg.io.stream import FileStream
from medseg.io.terms import coded, colour_of, parted, rgb

SUFFIX = ".seg.nrrd"
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_LONGEST_HEADER = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
_FIELD = re.compile(r"Segment(\d+)_(Name|Color|LabelValue|Layer|Tags)")
_CODES = re.compile(r"TerminologyEntry:[^~|]*~[^~|]*~([^~^|]*)\^([^~^|]*)\^")
_DTYPES: Mapping[str, np.dtype[Any]] = {
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), np.dtype(np.uint8)),
    **dict.fromkeys(("ushort", "unsigned short", "uint16", "uint16_t"), np.dtype("<u2")),
    **dict.fromkeys(("short", "signed short", "int16", "int16_t"), np.dtype("<i2")),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), np.dtype("<i4")),
}


@dataclass(frozen=True)
class Segment:
    """What a header says of one segment: its value in one of the layers, and what it is."""

    name: str
    value: int
    layer: int
    colour: str | None
    code: str | None


def write_seg_nrrd(path: Path, mask: LabelMap) -> str:
    """Write a mask with its labels' names, colours and codes; the SHA-256 of its bytes.

    Labels that overlap are layers of their own. Raises OutputError.
    """
    labels = mask.labels
    if labels.exclusive:
        layers = [np.asarray(mask.data)]
        values = [(label.values[0], 0) for label in labels]
    else:
        layers = [mask.where(label.name).astype(np.uint8) for label in labels]
        values = [(1, place) for place in range(len(labels))]
    header = _header(mask.grid, layers)
    for place, (label, (value, layer)) in enumerate(zip(labels, values, strict=True)):
        header += _described(label, place, value, layer, mask.grid)
    data = np.stack(layers) if len(layers) > 1 else layers[0]
    packer = zlib.compressobj(4, zlib.DEFLATED, _GZIP)
    packed = packer.compress(data.tobytes(order="F")) + packer.flush()
    return write_atomically(path, "\n".join([*header, "", ""]).encode() + packed)


def read_seg_nrrd(path: Path) -> tuple[LabelMap, tuple[Caution, ...]] | None:
    """The mask of a ``.seg.nrrd`` with the labels it names; None where it names none.

    Segments of several layers become one mask, the later one where they overlap. Raises
    StudyError E_HEADER_INVALID, E_TRUNCATED, E_TOO_LARGE and those of NRRD's geometry.
    """
    with naming(path):
        fields, remarks, data = _parted(path)
        segments = _segments(remarks)
        if not segments:
            return None
        layers = _layers(fields, data)
        x, y, z = (layers.shape[axis] for axis in (1, 2, 3))
        geometry, cautions = located_at(_affine(fields), (), (x, y, z, 1), 3)
        masks = [layers[min(one.layer, len(layers) - 1)] == one.value for one in segments]
        labels = _table(segments)
        out = np.zeros((x, y, z), mask_dtype(labels), order="F")
        twice = 0
        for label, inside in zip(labels, masks, strict=True):
            twice += int(np.count_nonzero(out[inside]))
            out[inside] = label.values[0]
    if twice:
        told = f"{twice} voxels are in two structures; the later label was taken"
        cautions += (Caution("W_LABEL_OVERLAP", told),)
    return LabelMap(out, geometry.grid, labels), cautions


def _header(grid: Grid, layers: Sequence[NDArray[Any]]) -> list[str]:
    affine = _TO_LPS @ grid.affine
    vectors = [_vector(affine[:3, axis]) for axis in range(3)]
    several = len(layers) > 1
    sides = [str(side) for side in grid.shape]
    kind = "unsigned char" if layers[0].dtype == np.uint8 else "unsigned short"
    return [
        "NRRD0004",
        "# https://teem.sourceforge.net/nrrd/format.html",
        f"type: {kind}",
        f"dimension: {4 if several else 3}",
        "space: left-posterior-superior",
        f"sizes: {' '.join([str(len(layers)), *sides] if several else sides)}",
        f"space directions: {' '.join(['none', *vectors] if several else vectors)}",
        f"kinds: {'list ' if several else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine[:3, 3])}",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]


def _vector(numbers: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(x)) for x in numbers)})"


def _described(label: Label, place: int, value: int, layer: int, grid: Grid) -> list[str]:
    red, green, blue = rgb(colour_of(label, place))
    said = coded(label)
    said_of = [said.category, said.type, *([said.side] if said.side else [])]
    entry = "~".join("^".join([*(parted(c) or ("99MEDSEG", c)), m]) for c, m in said_of)
    entry += "" if said.side else "~^^"
    extent = " ".join(f"0 {side - 1}" for side in grid.shape)
    begin = f"Segment{place}_"
    return [
        f"{begin}ID:=Segment_{place + 1}",
        f"{begin}Name:={_line(label.name)}",
        f"{begin}NameAutoGenerated:=0",
        f"{begin}Color:={red / 255:.6g} {green / 255:.6g} {blue / 255:.6g}",
        f"{begin}ColorAutoGenerated:=0",
        f"{begin}LabelValue:={value}",
        f"{begin}Layer:={layer}",
        f"{begin}Extent:={extent}",
        f"{begin}Tags:=TerminologyEntry:{_LIST}~{_line(entry)}~Anatomic codes - DICOM master"
        " list~^^~^^|",
    ]


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _parted(path: Path) -> tuple[Mapping[str, str], Mapping[str, str], bytes]:
    """Fields, remarks and what follows the header."""
    with FileStream(path):
        pass  # refuses what is no regular file
    whole = path.read_bytes()
    end = whole.find(b"\n\n", 0, _LONGEST_HEADER)
    cut = 2
    if end < 0:
        end, cut = whole.find(b"\r\n\r\n", 0, _LONGEST_HEADER), 4
    if not whole.startswith(b"NRRD000") or end < 0:
        raise StudyError("E_HEADER_INVALID", "is called .seg.nrrd and has no NRRD header")
    fields, remarks = {}, {}
    for line in whole[:end].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#"):
            continue
        key, mark, value = line.partition(":")
        if mark and value.startswith("="):
            remarks[key] = value[1:].strip()
        elif mark:
            fields[key.strip().lower()] = value.strip()
    return fields, remarks, whole[end + cut :]


def _segments(remarks: Mapping[str, str]) -> list[Segment]:
    said: dict[int, dict[str, str]] = {}
    for key, value in remarks.items():
        match = _FIELD.fullmatch(key)
        if match:
            said.setdefault(int(match[1]), {})[match[2]] = value
    found = []
    for number in sorted(said):
        one = said[number]
        code = _CODES.search(one.get("Tags", ""))
        try:
            number_in, layer = int(one.get("LabelValue", "1")), int(one.get("Layer", "0"))
        except ValueError:
            raise StudyError(
                "E_HEADER_INVALID", f"segment {number} has a value or a layer that is no number"
            ) from None
        known = f"{code[1]}:{code[2]}" if code and code[1] and code[2] else None
        name = one.get("Name") or f"segment {number + 1}"
        found.append(Segment(name, number_in, layer, _colour(one.get("Color", "")), known))
    return found


def _colour(text: str) -> str | None:
    try:
        parts = [min(255, max(0, round(255 * float(x)))) for x in text.split()]
    except (ValueError, OverflowError):
        return None
    return f"#{parts[0]:02x}{parts[1]:02x}{parts[2]:02x}" if len(parts) == 3 else None


def _table(segments: Sequence[Segment]) -> Labels:
    """Labels of the segments' own values; counted anew where two are equal or one is no label's."""
    values = [one.value for one in segments]
    if len(set(values)) < len(values) or min(values) < 1 or max(values) > HIGHEST_VALUE:
        values = list(range(1, len(segments) + 1))
    names = [one.name for one in segments]
    unique = [
        name if names.count(name) == 1 else f"{name} {place}" for place, name in enumerate(names, 1)
    ]
    return Labels(
        tuple(
            Label(name, (value,), one.colour, one.code)
            for name, value, one in zip(unique, values, segments, strict=True)
        )
    )


def _layers(fields: Mapping[str, str], packed: bytes) -> NDArray[Any]:
    """The voxels (layers, X, Y, Z)."""
    try:
        sizes = [int(x) for x in fields["sizes"].split()]
        dtype = _DTYPES[fields["type"].lower()]
    except (KeyError, ValueError):
        raise StudyError("E_HEADER_INVALID", "sizes or type are not those of segments") from None
    if len(sizes) not in (3, 4) or min(sizes) < 1 or fields.get("endian", "little") != "little":
        raise StudyError("E_HEADER_INVALID", f"has the sizes {sizes}, or is big-endian")
    wanted = prod(sizes) * dtype.itemsize
    encoding = fields.get("encoding", "").lower()
    if encoding in ("gzip", "gz"):
        if wanted > 1032 * len(packed) + 1024:
            raise StudyError("E_TRUNCATED", "holds fewer voxels than its header speaks of")
        try:
            data = zlib.decompressobj(_GZIP).decompress(packed, wanted)
        except zlib.error:
            raise StudyError("E_CORRUPT_GZIP", "its packed voxels are damaged") from None
    elif encoding == "raw":
        data = packed[:wanted]
    else:
        raise StudyError("E_HEADER_INVALID", "is encoded neither as raw nor by gzip")
    if len(data) < wanted:
        raise StudyError("E_TRUNCATED", f"ends after {len(data)} of {wanted} bytes of voxels")
    shape = sizes if len(sizes) == 4 else [1, *sizes]
    layers: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape, order="F")
    return layers


def _affine(fields: Mapping[str, str]) -> NDArray[np.float64]:
    """The affine (4, 4) to RAS+ mm."""
    spaces = {"left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1)}
    spaces |= {"right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1)}
    signs = spaces.get(fields.get("space", "").lower())
    if signs is None:
        raise StudyError("E_GEOMETRY_MISSING", "names no space that is read")
    vectors = re.findall(r"\(([^()]*)\)", fields.get("space directions", ""))
    origin = fields.get("space origin", "").strip("() ")
    try:
        numbers = [[float(x) for x in one.split(",")] for one in (*vectors, origin)]
        affine = np.eye(4)
        affine[:3] = np.array(numbers).T
    except ValueError:
        raise StudyError("E_HEADER_INVALID", "has no affine that can be read") from None
    return np.diag([*signs, 1.0]) @ affine
