"""Scans that must be refused, beside those of the tables of files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
from support.bad_files import BAD
from support.corpus.case import Case, bad
from support.corpus.odd_scans import from_row
from support.image_bytes import (
    AFFINE,
    META,
    NRRD,
    RAW,
    dims,
    gz,
    nifti,
    nifti2,
    patched,
    rows_of,
    text_image,
    voxels,
)

_NOISE = np.random.default_rng(1).integers(0, 1000, (9, 9, 9)).astype("i2")


def _folder(name: str) -> Case:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return Case(f"a folder called {name}", "scan", make, "E_NOT_A_FILE")


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.nii.gz")
    return folder / "a.nii.gz"


def _socket(folder: Path) -> Path:
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)  # A socket's path may have 108 bytes only.
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("a.nii")
    finally:
        os.fchdir(here)
        os.close(here)
    return folder / "a.nii"


def _ring(folder: Path) -> Path:
    (folder / "a.nii").symlink_to("b.nii")
    (folder / "b.nii").symlink_to("a.nii")
    return folder / "a.nii"


def _cut(share: float) -> Case:
    packed = gz(nifti(_NOISE))
    cut = packed[: int(share * len(packed))]
    return bad(f"gzip cut after {share:.0%}", "E_TRUNCATED", cut, "a.nii.gz")


def _flipped(share: float) -> Case:
    def data() -> bytes:
        raw = bytearray(gz(nifti(_NOISE)))
        raw[int(share * len(raw))] ^= 0x10
        return bytes(raw)

    return bad(f"a bit of the gzip flipped at {share:.0%}", "E_CORRUPT_GZIP", data, "a.nii.gz")


def _length(packed: bytes) -> bytes:
    return packed[:-4] + (int.from_bytes(packed[-4:], "little") + 1).to_bytes(4, "little")


def _second_member() -> bytes:
    raw = nifti(_NOISE)
    second = bytearray(gz(raw[400:]))
    second[-6] ^= 1
    return gz(raw[:400]) + bytes(second)


def _nii(name: str, ends: str, **fields: object) -> Case:
    return bad(name, ends, nifti(**fields))  # type: ignore[arg-type]


def _nrrd(name: str, ends: str, changes: dict[str, str], data: bytes = RAW) -> Case:
    return bad(name, ends, text_image(NRRD, changes, data), "a.nrrd")


def _mha(name: str, ends: str, changes: dict[str, str], data: bytes = RAW) -> Case:
    return bad(name, ends, text_image(META, changes, data), "a.mha")


def _filled(value: float) -> bytes:
    return nifti(np.full((5, 6, 7), value, "f4"))


def _srow(at: int, value: float) -> bytes:
    numbers = list(rows_of(AFFINE))
    numbers[at] = value
    return nifti(srow=tuple(numbers), qform_code=0)


BAD_SCANS = (
    *map(from_row, BAD),
    *map(_folder, ("a.nii", "a.nii.gz", "a.nrrd", "a.mha")),
    Case("a pipe that would never end", "scan", _pipe, "E_NOT_A_FILE"),
    Case("a socket", "scan", _socket, "E_NOT_A_FILE"),
    Case("two links to each other", "scan", _ring, "E_NOT_FOUND"),
    *map(_cut, (0.1, 0.3, 0.6, 0.9, 0.99)),
    *map(_flipped, (0.4, 0.6, 0.8)),
    bad("gzip of another length", "E_CORRUPT_GZIP", lambda: _length(gz(nifti(_NOISE))), "a.nii.gz"),
    bad("gzip's second member damaged", "E_CORRUPT_GZIP", _second_member, "a.nii.gz"),
    bad("a header of one byte", "E_NOT_AN_IMAGE", nifti()[:1]),
    bad("half a header", "E_TRUNCATED", nifti()[:174]),
    bad(
        "the sizes in the wrong order of bytes",
        "E_HEADER_INVALID",
        patched(nifti(), dim=(768, 1280, 1536, 1792, 256, 256, 256, 256)),
    ),
    bad(
        "the header's size in the wrong order of bytes",
        "E_HEADER_INVALID",
        b"\0\0\1\x5c" + nifti()[4:],
    ),
    bad("NIfTI-2 of a negative side", "E_HEADER_INVALID", nifti2(dim=dims(5, -6, 7))),
    bad("NIfTI-2 whose product passes 2**63", "E_TRUNCATED", nifti2(dim=dims(2**31, 2**31, 2**31))),
    bad("NIfTI-2 whose voxels begin before the file", "E_HEADER_INVALID", nifti2(vox_offset=-544)),
    bad(
        "NIfTI-2 whose voxels begin behind all disks", "E_HEADER_INVALID", nifti2(vox_offset=2**62)
    ),
    _nii("dim[0] is -3", "E_HEADER_INVALID", dim=(-3, 5, 6, 7, 1, 1, 1, 1)),
    _nii("all sides 0", "E_HEADER_INVALID", dim=dims(0, 0, 0)),
    _nii("a million times its size", "E_TRUNCATED", dim=dims(500, 600, 700)),
    _nii("one slice more than there is", "E_TRUNCATED", dim=dims(5, 6, 8)),
    _nii("one bit a voxel", "E_DTYPE", datatype=1),
    _nii("type RGBA", "E_DTYPE", datatype=2304, bitpix=32),
    _nii("type float128", "E_DTYPE", datatype=1536, bitpix=128),
    _nii("type complex128", "E_DTYPE", datatype=1792, bitpix=128),
    _nii("type complex256", "E_DTYPE", datatype=2048, bitpix=256),
    _nii("type below 0", "E_DTYPE", datatype=-4),
    bad("complex numbers", "E_DTYPE", nifti(voxels(dtype="c16"))),
    bad("two frames", "E_NDIM", nifti(voxels((5, 6, 7, 2)))),
    bad("vectors", "E_NDIM", nifti(voxels((5, 6, 7, 1, 3)))),
    bad("six dimensions", "E_NDIM", nifti(voxels((5, 6, 7, 1, 1, 2)))),
    bad("channels first", "E_NDIM", nifti(voxels((2, 5, 6, 7)))),
    _nii("slope -inf", "E_SCALING", scl_slope=-np.inf),
    _nii("inter infinite", "E_SCALING", scl_slope=1, scl_inter=np.inf),
    _nii("slope NaN and inter NaN", "E_SCALING", scl_slope=np.nan, scl_inter=np.nan),
    _nii("slope that carries beyond float32", "E_NONFINITE", scl_slope=3e38, scl_inter=0),
    bad("nothing but NaN", "E_NONFINITE", _filled(np.nan)),
    bad("nothing but inf", "E_NONFINITE", _filled(np.inf)),
    bad("nothing but -inf", "E_NONFINITE", _filled(-np.inf)),
    bad(
        "one NaN in float64, gzip",
        "E_NONFINITE",
        lambda: gz(nifti(np.where(np.arange(210).reshape(5, 6, 7) == 99, np.nan, 1.0))),
        "a.nii.gz",
    ),
    bad("sform NaN in its offset", "E_GEOMETRY_SINGULAR", _srow(3, np.nan)),
    bad("sform infinite in its offset", "E_GEOMETRY_SINGULAR", _srow(7, np.inf)),
    bad("sform of nothing but zeros", "E_GEOMETRY_SINGULAR", nifti(srow=(0.0,) * 12, qform_code=0)),
    bad(
        "sform with two axes alike",
        "E_GEOMETRY_SINGULAR",
        nifti(srow=rows_of(AFFINE[:, [0, 0, 2, 3]]), qform_code=0),
    ),
    bad(
        "sform of axes near one plane",
        "E_GEOMETRY_SINGULAR",
        nifti(srow=(2, 2, 0, 0, 0, 1e-7, 0, 0, 0, 0, 3, 0), qform_code=0),
    ),
    _nii("qform's offset NaN", "E_GEOMETRY_SINGULAR", qoffset=(np.nan, 0, 0), sform_code=0),
    _nii("pixdim infinite", "E_SPACING", pixdim=(1, 2, 2, np.inf, 0, 0, 0, 0), sform_code=0),
    _nii("pixdim of a kilometre", "E_SPACING", pixdim=(1, 2, 2, 1e6, 0, 0, 0, 0), sform_code=0),
    _nii("pixdim all 0", "E_SPACING", pixdim=(1, 0, 0, 0, 0, 0, 0, 0), sform_code=0),
    _nii(
        "sform of another voxel size than qform",
        "E_GEOMETRY_CONFLICT",
        pixdim=(1, 2, 2, 5, 0, 0, 0, 0),
    ),
    _nii(
        "sform turned by a quarter",
        "E_GEOMETRY_CONFLICT",
        srow=(0, -2, 0, 20, 2, 0, 0, 30, 0, 0, 3, -40),
    ),
    _nrrd("NRRD of nothing but a first line", "E_HEADER_INVALID", {NRRD[8:]: ""}, b""),
    _nrrd("NRRD with a negative side", "E_HEADER_INVALID", {"5 6 7": "5 -6 7"}),
    _nrrd("NRRD of 10**18", "E_TRUNCATED", {"5 6 7": "1000000 1000000 1000000"}),
    _nrrd("NRRD of 99 dimensions", "E_HEADER_INVALID", {"dimension: 3": "dimension: 99"}),
    _nrrd("NRRD with a NaN direction", "E_GEOMETRY_SINGULAR", {"(2,0,0)": "(nan,0,0)"}),
    _nrrd("NRRD with a NaN origin", "E_GEOMETRY_SINGULAR", {"(1,2,3)": "(1,nan,3)"}),
    _nrrd("NRRD flat", "E_GEOMETRY_SINGULAR", {"(0,2,0)": "(4,0,0)"}),
    _nrrd("NRRD in text", "E_HEADER_INVALID", {"raw": "ascii"}),
    _nrrd("NRRD of no known type", "E_DTYPE", {"short": "quadword"}),
    _nrrd("NRRD that says its sizes twice", "E_HEADER_INVALID", {"endian": "sizes: 7 6 5\nendian"}),
    _mha("MHA of no dimensions", "E_HEADER_INVALID", {"NDims = 3": "NDims = 0"}),
    _mha("MHA of 99 dimensions", "E_HEADER_INVALID", {"NDims = 3": "NDims = 99"}),
    _mha("MHA with a negative side", "E_HEADER_INVALID", {"5 6 7": "5 -6 7"}),
    _mha("MHA of 10**18", "E_TRUNCATED", {"5 6 7": "1000000 1000000 1000000"}),
    _mha("MHA with a side of words", "E_HEADER_INVALID", {"5 6 7": "5 six 7"}),
    _mha("MHA of a negative spacing", "E_SPACING", {"2 2 3": "2 -2 3"}),
    _mha("MHA of a spacing NaN", "E_SPACING", {"2 2 3": "2 nan 3"}),
    _mha(
        "MHA with a NaN matrix", "E_GEOMETRY_SINGULAR", {"1 0 0 0 1 0 0 0 1": "nan 0 0 0 1 0 0 0 1"}
    ),
    _mha("MHA with a NaN offset", "E_GEOMETRY_SINGULAR", {"Offset = 1 2 3": "Offset = 1 nan 3"}),
    _mha(
        "MHA that says its sizes twice",
        "E_HEADER_INVALID",
        {"NDims": "DimSize = 7 6 5\nNDims"},
    ),
    _mha("MHA without a type", "E_HEADER_INVALID", {"ElementType = MET_SHORT\n": ""}),
)
