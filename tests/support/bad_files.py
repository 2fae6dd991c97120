"""Files that are wrong or odd, one a row, each with the code it must be met with."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.image_bytes import (
    AFFINE,
    META,
    NRRD,
    RAW,
    SHAPE,
    dims,
    gz,
    half,
    nifti,
    nifti2,
    pair,
    rows_of,
    sheared,
    text_image,
    voxels,
)


@dataclass(frozen=True)
class Row:
    """A file to make, the code to meet, and words that the message must have."""

    name: str
    code: str
    says: str
    make: Callable[[Path], object]
    file: str = "a.nii"

    def __str__(self) -> str:
        return self.name


def _nii(
    name: str, code: str, says: str = "", data: np.ndarray | None = None, **fields: Any
) -> Row:
    return Row(name, code, says, lambda path: path.write_bytes(nifti(data, **fields)))


def _gz(name: str, code: str, says: str, raw: Callable[[], bytes]) -> Row:
    return Row(name, code, says, lambda path: path.write_bytes(raw()), "a.nii.gz")


def _is(name: str, code: str, says: str, raw: bytes, file: str = "a.nii") -> Row:
    return Row(name, code, says, lambda path: path.write_bytes(raw), file)


def _nrrd(name: str, code: str, says: str, changes: dict[str, str], data: bytes = RAW) -> Row:
    return _is(name, code, says, text_image(NRRD, changes, data), "a.nrrd")


def _mha(name: str, code: str, says: str, changes: dict[str, str], data: bytes = RAW) -> Row:
    return _is(name, code, says, text_image(META, changes, data), "a.mha")


def _flipped_crc() -> bytes:
    packed = bytearray(gz(nifti()))
    packed[-6] ^= 0xFF
    return bytes(packed)


def _damaged_body() -> bytes:
    noise = np.random.default_rng(0).integers(0, 999, SHAPE).astype("i2")
    packed = bytearray(gz(nifti(noise)))
    packed[200:220] = b"\xff" * 20
    return bytes(packed)


def _with(value: float) -> np.ndarray:
    data = voxels(dtype="f4")
    data[1, 2, 3] = value
    return data


def _slice(to: int, value: Any) -> np.ndarray:
    data = voxels()
    data[:, :, to] = value
    return data


def _extension(size: int, room: int) -> bytes:
    """A file whose extension says ``size`` bytes where there are ``room``."""
    raw = nifti(vox_offset=352 + room)
    extension = struct.pack("<ii", size, 6).ljust(room, b" ")
    return raw[:348] + b"\1\0\0\0" + extension + raw[352:]


def _noise_with_one_far_out() -> np.ndarray:
    data = np.random.default_rng(0).normal(100, 10, (16, 16, 16)).astype("f4")
    data[3, 4, 5] = 1e6
    return data


def _scaled(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1]) @ AFFINE


PACKED = {"CompressedData = False": "CompressedData = True"}
ZLIB = zlib.compress(RAW)
_COLOURS = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
_VECTORS = {"dimension: 3": "dimension: 4", "5 6 7": "3 5 6 7", "(2,0,0)": "none (2,0,0)"}
_FIVE = {"dimension: 3": "dimension: 5", "5 6 7": "5 6 7 1 1", "(0,0,3)": "(0,0,3) none none"}
_MINOR = {"(2,0,0)": "(.002,0,0)", "(0,2,0)": "(0,.002,0)", "(0,0,3)": "(0,0,.003)"}

FILES = (
    Row("nothing there", "E_NOT_FOUND", "no such file", lambda path: path.parent),
    Row("broken link", "E_NOT_FOUND", "gone.nii", lambda path: path.symlink_to("gone.nii")),
    Row("link to itself", "E_NOT_FOUND", "itself", lambda path: path.symlink_to(path.name)),
    Row("a file for a folder", "E_NOT_FOUND", "", lambda p: p.parent.write_bytes(b"x"), "b/a.nii"),
    Row("folder", "E_NOT_A_FILE", "folder", Path.mkdir),
    Row("pipe", "E_NOT_A_FILE", "pipe", os.mkfifo),
    Row("device", "E_NOT_A_FILE", "device", lambda path: path.symlink_to("/dev/zero")),
    _is("no bytes", "E_EMPTY_FILE", "again", b""),
    Row("hdr without img", "E_NOT_FOUND", "no such file", half, "a.hdr"),
    _is("img without hdr", "E_NOT_FOUND", "a.hdr", b"\5" * 420, "a.img"),
    _is(
        "NRRD without its data",
        "E_NOT_FOUND",
        "no such file",
        text_image(NRRD, {"\n\n": "\ndata file: gone.raw\n"}, b""),
        "a.nhdr",
    ),
    _is(
        "NRRD that reaches out",
        "E_PATH_ESCAPE",
        "secret.raw",
        text_image(NRRD, {"\n\n": "\ndata file: ../../secret.raw\n"}, b""),
        "a.nhdr",
    ),
    _is(
        "MHD that reaches out",
        "E_PATH_ESCAPE",
        "hostname",
        text_image(META, {"LOCAL": "/etc/hostname"}, b""),
        "a.mhd",
    ),
)
OTHER_THINGS = (
    _is(
        "Git LFS pointer", "E_NOT_AN_IMAGE", "git lfs pull", b"version https://git-lfs.github.com/"
    ),
    _is("web page", "E_NOT_AN_IMAGE", "web page", b"\n<!DOCTYPE html><html>"),
    _is("web page in gzip", "E_NOT_AN_IMAGE", "web page", gz(b"<html>log in"), "a.nii.gz"),
    _is("zip", "E_NOT_AN_IMAGE", "zip", b"PK\x03\x04" + bytes(40)),
    _gz("gzip twice", "E_NOT_AN_IMAGE", "twice", lambda: gz(gz(nifti()))),
    _is("text", "E_NOT_AN_IMAGE", "a text", b"hello there\n"),
    _is("noise", "E_NOT_AN_IMAGE", "07 08 09", bytes(range(7, 250))),
    _is("zeros", "E_NOT_AN_IMAGE", "zeros", bytes(1000)),
    _is("nothing in gzip", "E_NOT_AN_IMAGE", "nothing inside", gz(b""), "a.nii.gz"),
    _is("DICOM", "E_NOT_AN_IMAGE", "DICOM", bytes(128) + b"DICM", "a.dcm"),
    _is("XML", "E_NOT_AN_IMAGE", "XML", b"<?xml version='1.0'?>"),
    _is("NRRD in gzip", "E_NOT_AN_IMAGE", "unpack", gz(NRRD.encode() + RAW), "a.nrrd.gz"),
)
CUT = (
    _is("header cut", "E_TRUNCATED", "100 of 348", nifti()[:100]),
    _is("voxels cut", "E_TRUNCATED", "763 of 772", nifti()[:-9]),
    _is("no voxels", "E_TRUNCATED", "352 of 772", nifti()[:352]),
    _gz("gzip cut in its voxels", "E_TRUNCATED", " of 772", lambda: gz(nifti())[:-60]),
    _gz("gzip cut in its checksum", "E_TRUNCATED", "checksum", lambda: gz(nifti())[:-3]),
    _gz("gzip cut in its header", "E_TRUNCATED", "header", lambda: gz(nifti())[:40]),
    _gz("whole gzip of a cut file", "E_TRUNCATED", "763 of 772", lambda: gz(nifti()[:-9])),
    _nii("claims 70 TB", "E_TRUNCATED", "70 362 GB", dim=dims(32767, 32767, 32767)),
    _gz("claims 3 GB", "E_TRUNCATED", "3.0 GB", lambda: gz(nifti(dim=dims(1000, 1000, 1500)))),
    _is("NIfTI-2 of 2**40", "E_TRUNCATED", "GB", nifti2(dim=dims(2**40, 2**40, 2**40))),
    Row("pair cut", "E_TRUNCATED", "100 of 420", lambda path: pair(path, keep=100), "a.hdr"),
    _nrrd("NRRD cut", "E_TRUNCATED", " of ", {}, RAW[:-1]),
    _nrrd("NRRD gzip cut", "E_TRUNCATED", " of 420", {"raw": "gzip"}, gz(RAW)[:-20]),
    _mha("MHA cut", "E_TRUNCATED", " of ", {}, RAW[:-1]),
    _mha("MHA packed and cut", "E_TRUNCATED", " of 420", PACKED, ZLIB[:-20]),
    _mha(
        "MHA shorter than packed",
        "E_TRUNCATED",
        "of 9999",
        PACKED | {"NDims": "CompressedDataSize = 9999\nNDims"},
        ZLIB,
    ),
    _is("MHA header cut", "E_TRUNCATED", "ElementDataFile", META.encode()[:60], "a.mha"),
)
DAMAGED = (
    _gz("gzip checksum", "E_CORRUPT_GZIP", "damaged", _flipped_crc),
    _gz("gzip body", "E_CORRUPT_GZIP", "damaged", _damaged_body),
    _is("gzip of nonsense", "E_CORRUPT_GZIP", "", b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 90),
    _nrrd("NRRD checksum", "E_CORRUPT_GZIP", "gzip", {"raw": "gz"}, gz(RAW)[:-8] + bytes(8)),
    _mha("MHA packed with gzip", "E_CORRUPT_GZIP", "zlib", PACKED, gz(RAW)),
    _mha("MHA checksum", "E_CORRUPT_GZIP", "zlib", PACKED, ZLIB[:-4] + bytes(4)),
)
HEADERS = (
    _nii("no dimensions", "E_HEADER_INVALID", "dim[0] is 0", dim=(0, 5, 6, 7, 1, 1, 1, 1)),
    _nii("nine dimensions", "E_HEADER_INVALID", "dim[0] is 9", dim=(9, 5, 6, 7, 1, 1, 1, 1)),
    _nii("side 0", "E_HEADER_INVALID", "0 voxels", dim=dims(5, 0, 7)),
    _nii("side negative", "E_HEADER_INVALID", "-20 voxels", dim=dims(5, -20, 7)),
    _nii("vox_offset 0", "E_HEADER_INVALID", "vox_offset is 0", vox_offset=0),
    _nii("vox_offset NaN", "E_HEADER_INVALID", "vox_offset", vox_offset=np.nan),
    _nii("vox_offset between bytes", "E_HEADER_INVALID", "352.5", vox_offset=352.5),
    _nii("vox_offset behind all", "E_HEADER_INVALID", "1 000 000", vox_offset=1e6),
    _gz("the same in gzip", "E_HEADER_INVALID", "1 000 000", lambda: gz(nifti(vox_offset=1e9))),
    _is("huge extension", "E_HEADER_INVALID", "extension", _extension(1 << 28, 32)),
    _nii("wrong magic", "E_HEADER_INVALID", "magic", magic=b"n+x\0"),
    _nii("wrong header size", "E_HEADER_INVALID", "sizeof_hdr", sizeof_hdr=349),
    _is("NIfTI-2 as text", "E_HEADER_INVALID", "as text", nifti2(magic=b"n+2\0\n\x1a\n\0")),
    _nrrd("NRRD without sizes", "E_HEADER_INVALID", "sizes", {"sizes: 5 6 7\n": ""}),
    _nrrd("NRRD of words", "E_HEADER_INVALID", "numbers", {"5 6 7": "5 six 7"}),
    _nrrd("NRRD with a side of 0", "E_HEADER_INVALID", "sides", {"5 6 7": "5 0 7"}),
    _nrrd("NRRD with a side of NaN", "E_HEADER_INVALID", "sides", {"5 6 7": "5 nan 7"}),
    _nrrd("NRRD with two sizes", "E_HEADER_INVALID", "3 numbers", {"5 6 7": "5 6"}),
    _nrrd("NRRD in bzip2", "E_HEADER_INVALID", "bzip2", {"raw": "bzip2"}),
    _nrrd("NRRD without endian", "E_HEADER_INVALID", "endian", {"endian: little\n": ""}),
    _nrrd("NRRD of middle endian", "E_HEADER_INVALID", "middle", {"little": "middle"}),
    _nrrd("NRRD with a skip", "E_HEADER_INVALID", "skip", {"endian": "byte skip: 4\nendian"}),
    _nrrd("NRRD with two directions", "E_HEADER_INVALID", "directions", {" (0,0,3)": ""}),
    _nrrd("NRRD with a short direction", "E_HEADER_INVALID", "2 numbers", {"(2,0,0)": "(2,0)"}),
    _nrrd(
        "NRRD of units", "E_HEADER_INVALID", "units", {"endian": 'space units: "mm" "m"\nendian'}
    ),
    _is("NRRD line without end", "E_HEADER_INVALID", "a line", b"NRRD0004\n" + b"x" * 100_000),
    _is("NRRD of endless lines", "E_HEADER_INVALID", "lines", b"NRRD0004\n" + b"# x\n" * 5000),
    _mha("MHA as text", "E_HEADER_INVALID", "binary", {"BinaryData = True": "BinaryData = False"}),
    _mha("MHA without sizes", "E_HEADER_INVALID", "DimSize", {"DimSize = 5 6 7\n": ""}),
    _mha(
        "MHA with a header size",
        "E_HEADER_INVALID",
        "Size '12'",
        {"NDims": "HeaderSize = 12\nNDims"},
    ),
    _mha("MHA in many files", "E_HEADER_INVALID", "list of files", {"LOCAL": "slice%03d.raw"}),
)
TYPES = (
    _nii("colours", "E_DTYPE", "RGB", _COLOURS),
    _nii("complex", "E_DTYPE", "complex", voxels(dtype="c8")),
    _nii("no type", "E_DTYPE", "no stated type", datatype=0),
    _nii("unknown type", "E_DTYPE", "77", datatype=77),
    _nrrd("NRRD of blocks", "E_DTYPE", "block", {"short": "block"}),
    _nrrd("NRRD of vectors", "E_DTYPE", "3 values", _VECTORS, RAW * 3),
    _mha(
        "MHA of colours", "E_DTYPE", "'3'", {"NDims": "ElementNumberOfChannels = 3\nNDims"}, RAW * 3
    ),
    _mha("MHA of strings", "E_DTYPE", "MET_STRING", {"MET_SHORT": "MET_STRING"}),
    _nii("one dimension", "E_NDIM", "(210,)", dim=dims(210)),
    _nii("four dimensions", "E_NDIM", "frames: each", voxels((5, 6, 7, 3))),
    _nii("five dimensions", "E_NDIM", "(5, 6, 7, 1, 3)", voxels((5, 6, 7, 1, 3))),
    _mha("MHA of five", "E_NDIM", "5 dimensions", {"NDims = 3": "NDims = 5", "5 6 7": "5 6 7 1 1"}),
    _nrrd("NRRD of five", "E_NDIM", "(5, 6, 7, 1, 1)", _FIVE),
)
NUMBERS = (
    _nii("slope infinite", "E_SCALING", "inf", scl_slope=np.inf),
    _nii("slope NaN", "E_SCALING", "nan", scl_slope=np.nan),
    _nii("inter NaN", "E_SCALING", "nan", scl_slope=1, scl_inter=np.nan),
    _mha("MHA slope", "E_SCALING", "", {"NDims": "ElementToIntensityFunctionSlope = 2\nNDims"}),
    _gz("NaN voxel", "E_NONFINITE", "1 of 210", lambda: gz(nifti(_with(np.nan)))),
    _nii("infinite voxel", "E_NONFINITE", "(1, 2, 3)", _with(-np.inf)),
    _nii("more than float32 holds", "E_NONFINITE", "208 of 210", voxels(dtype="f8") * 1e300),
)
PLACES = (
    _nii("both forms unset", "E_GEOMETRY_MISSING", "left", sform_code=0, qform_code=0),
    Row("Analyze", "E_GEOMETRY_MISSING", "7.5", lambda p: pair(p, bytes(4)), "a.hdr"),
    Row("Analyze's limits", "E_GEOMETRY_MISSING", "7.5", lambda p: pair(p, b"\0\0\0\7"), "a.hdr"),
    _nrrd("NRRD, no directions", "E_GEOMETRY_MISSING", "'space dir", {"space dir": "tensor dir"}),
    _nrrd("NRRD, no space", "E_GEOMETRY_MISSING", "no space", {"space: left-post": "remark: left"}),
    _nrrd("NRRD, scanner's", "E_GEOMETRY_MISSING", "scanner", {"left-posterior": "scanner"}),
    _mha("MHA, no matrix", "E_GEOMETRY_MISSING", "TransformMatrix", {"TransformMatrix": "Other"}),
    _mha("MHA, no offset", "E_GEOMETRY_MISSING", "Offset", {"Offset": "Other"}),
    _nii("sform shifted", "E_GEOMETRY_CONFLICT", "1.00 mm", qoffset=(21, 30, -40)),
    _nii("sform mirrored", "E_GEOMETRY_CONFLICT", "sform", srow=rows_of(np.diag([-2, 2, 3, 1]))),
    _nii("sform sheared, qform not", "E_GEOMETRY_CONFLICT", "", srow=rows_of(sheared(15))),
    _nii("sform flat", "E_GEOMETRY_SINGULAR", "plane", srow=rows_of(AFFINE[[0, 0, 2, 3]] + 0.1)),
    _nii("sform, no axis", "E_GEOMETRY_SINGULAR", "length", srow=rows_of(AFFINE * [1, 0, 1, 1])),
    _nii("sform NaN", "E_GEOMETRY_SINGULAR", "NaN", srow=(np.nan,) * 12),
    _nii("sform infinite", "E_GEOMETRY_SINGULAR", "infinite", srow=(np.inf,) * 12, qform_code=0),
    _nii("quaternion too long", "E_GEOMETRY_SINGULAR", "rotation", quatern=(1, 1, 1), sform_code=0),
    _nii("quaternion NaN", "E_GEOMETRY_SINGULAR", "rotation", quatern=(np.nan, 0, 0), sform_code=0),
    _nii("pixdim 0", "E_SPACING", "2, 0, 3", pixdim=(1, 2, 0, 3, 0, 0, 0, 0), sform_code=0),
    _nii("pixdim negative", "E_SPACING", "-2", pixdim=(1, 2, -2, 3, 0, 0, 0, 0), sform_code=0),
    _nii("pixdim negative, sform set", "E_SPACING", "-2", pixdim=(1, 2, -2, 3, 0, 0, 0, 0)),
    _nii("pixdim NaN", "E_SPACING", "nan", pixdim=(1, 2, np.nan, 3, 0, 0, 0, 0), qform_code=0),
    _nii("voxels of a micron", "E_SPACING", "0.001", affine=np.diag([0.001, 0.001, 0.001, 1])),
    _nii("millimetres called metres", "E_SPACING", "2000", xyzt_units=1),
    _mha("MHA without spacing", "E_SPACING", "ElementSpacing", {"ElementSpacing": "Other"}),
    _mha("MHA with a spacing of 0", "E_SPACING", "0.0", {"2 2 3": "2 0 3"}),
    _mha("MHA, flat", "E_GEOMETRY_SINGULAR", "plane", {"0 1 0 0 0 1": "1 0 0 0 0 1"}),
)
BAD = (*FILES, *OTHER_THINGS, *CUT, *DAMAGED, *HEADERS, *TYPES, *NUMBERS, *PLACES)

_FLAT = (1, 2, 2, 0, 0, 0, 0, 0)
_TILT = (1, 2, 2, 3.0463, 0, 0, 0, 0)
_TWO_AXES = rows_of(AFFINE * [1, 1, 0, 1])
ODD = (
    _is("plain inside .nii.gz", "W_SUFFIX", "not packed", nifti(), "a.nii.gz"),
    _is("gzip inside .nii", "W_SUFFIX", "packed", gz(nifti())),
    _is("NRRD called .nii", "W_SUFFIX", "NRRD", NRRD.encode() + RAW),
    _is("bytes after the voxels", "W_TRAILING_BYTES", "4 bytes", nifti() + b"more"),
    _gz("bytes after them in gzip", "W_TRAILING_BYTES", "5 bytes", lambda: gz(nifti() + bytes(5))),
    _gz("bytes after the gzip", "W_TRAILING_BYTES", "6 bytes", lambda: gz(nifti()) + b"signed"),
    _nii("bitpix of another type", "W_BITPIX", "int16", bitpix=8),
    _is("crooked extension", "W_EXTENSION", "20 bytes", _extension(20, 32)),
    _nii("slope 0 with an inter", "W_SCALING", "5", scl_slope=0, scl_inter=5),
    _nii("metres", "W_UNITS", "metres", affine=_scaled(0.001), xyzt_units=1),
    _nii("microns", "W_UNITS", "microns", affine=_scaled(1000), xyzt_units=3),
    _nii("unknown unit", "W_UNITS", "6", xyzt_units=6),
    _nrrd(
        "NRRD in m", "W_UNITS", "in 'm' ", _MINOR | {"endian": 'space units: "m" "m" "m"\nendian'}
    ),
    _mha("MHA in cm", "W_UNITS", "cm", {"2 2 3": ".2 .2 .3", "NDims": "DistanceUnits = cm\nNDims"}),
    _nii(
        "pixdim of another size", "W_SPACING", "5 mm", pixdim=(1, 2, 2, 5, 0, 0, 0, 0), qform_code=0
    ),
    _nii("pixdim 0, sform set", "W_SPACING", "0 x", pixdim=(1, 0, 2, 3, 0, 0, 0, 0), qform_code=0),
    _nii("2-D without thickness", "W_SPACING", "2-D", voxels((9, 8)), pixdim=_FLAT, sform_code=0),
    _nii(
        "2-D, two axes",
        "W_SPACING",
        "2-D",
        voxels((9, 8)),
        srow=_TWO_AXES,
        pixdim=_FLAT,
        qform_code=0,
    ),
    _nii(
        "gantry tilt",
        "W_GEOMETRY_SHEAR",
        "10.0",
        srow=rows_of(sheared(10)),
        pixdim=_TILT,
        qform_code=0,
    ),
    _nii("constant", "W_CONSTANT", "7", np.full(SHAPE, 7, "i2")),
    _nii("slice repeated", "W_SLICE", "before: 4", _slice(4, voxels()[:, :, 3])),
    _nii("slice lost", "W_SLICE", "others: 2", _slice(2, 0)),
    _nii("one outlier", "W_INTENSITY", "1e+06", _noise_with_one_far_out()),
    _nii(
        "mask for a scan", "W_INTENSITY", "mask", (np.indices((10, 10, 10)).sum(0) % 3).astype("u1")
    ),
)
