"""Scans that are whole, each in a way that some reader gets wrong."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from support.bad_files import ODD, Row
from support.corpus.case import NRRD_AFFINE, Case, Truth, good
from support.image_bytes import (
    AFFINE,
    META,
    NRRD,
    RAW,
    gz,
    nifti,
    nifti2,
    pair,
    rows_of,
    sheared,
    text_image,
    voxels,
)

_SWAPPED = voxels().astype(">i2").tobytes(order="F")


def _with_slice(at: int, value: Any) -> NDArray[Any]:
    data = voxels()
    data[:, :, at] = value
    return data


def _far_out() -> NDArray[Any]:
    data = np.random.default_rng(0).normal(100, 10, (16, 16, 16)).astype("f4")
    data[3, 4, 5] = 1e6
    return data


def _at(affine: NDArray[np.float64], *origin: float) -> NDArray[np.float64]:
    moved = affine.copy()
    moved[:3, 3] = origin
    return moved


_FLAT = Truth(voxels((9, 8))[:, :, None], AFFINE @ np.diag([1, 1, 1 / 3, 1]))
_TRUTHS = {
    "NRRD called .nii": Truth(voxels(), NRRD_AFFINE),
    "NRRD in m": Truth(voxels(), _at(NRRD_AFFINE, -1000, -2000, 3000)),
    "MHA in cm": Truth(voxels(), _at(NRRD_AFFINE, -10, -20, 30)),
    "2-D without thickness": _FLAT,
    "2-D, two axes": _FLAT,
    "gantry tilt": Truth(voxels(), sheared(10)),
    "constant": Truth(np.full((5, 6, 7), 7, "i2"), AFFINE),
    "slice repeated": Truth(_with_slice(4, voxels()[:, :, 3]), AFFINE),
    "slice lost": Truth(_with_slice(2, 0), AFFINE),
    "one outlier": Truth(_far_out(), AFFINE),
    "mask for a scan": Truth(np.indices((10, 10, 10)).sum(0) % 3, AFFINE),
}


def from_row(row: Row) -> Case:
    """A row of the tables of files, odd or bad."""

    def make(folder: Path) -> Path:
        path = folder / row.file
        row.make(path)
        return path

    if row.code.startswith("E_"):
        return Case(row.name, "scan", make, row.code)
    truth = _TRUTHS.get(row.name, Truth(voxels(), AFFINE))
    return Case(row.name, "scan", make, "done", (row.code,), truth)


def _order(name: str, dtype: str, kind: Callable[..., Any] = nib.Nifti1Image) -> Case:
    """Voxels and header in big-endian."""
    values = voxels(dtype=dtype)

    def data() -> bytes:
        header = (nib.Nifti1Header if kind is nib.Nifti1Image else nib.Nifti2Header)(endianness=">")
        image = kind(values, AFFINE, header, dtype=values.dtype)
        image.header.set_xyzt_units("mm")
        image.set_sform(AFFINE, 1)
        image.set_qform(AFFINE, 1)
        raw: bytes = image.to_bytes()
        return raw

    return good(name, data, values)


def _typed(dtype: str) -> Case:
    values = voxels(dtype=dtype)
    return good(f"voxels of {np.dtype(dtype).name}", nifti(values), values)


def _turned(axes: str) -> Case:
    """The same axes in another order of storage."""
    from nibabel.orientations import axcodes2ornt

    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for column, (axis, sign) in enumerate(axcodes2ornt(axes)):
        turn[int(axis), column] = sign * (2, 2, 3)[int(axis)]
    affine = _at(turn, 10, -20, 30)
    return good(f"stored as {axes}", nifti(affine=affine), affine=affine)


def _oblique() -> NDArray[np.float64]:
    a, b = np.radians(17), np.radians(-9)
    one = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    two = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = one @ two @ np.diag([0.7, 0.9, 3])
    return _at(affine, -31.5, 12.25, -104.75)


def _members() -> bytes:
    raw = nifti()
    return gzip.compress(raw[:400]) + gzip.compress(raw[400:])


def _named_member() -> bytes:
    """The flags say that a name and a comment follow the ten bytes of gzip's header."""
    raw = gz(nifti())
    return raw[:3] + b"\x18" + raw[4:10] + b"patient\0comment\0" + raw[10:]


def _pair(folder: Path) -> Path:
    pair(folder / "a.hdr")
    return folder / "a.hdr"


def _linked(folder: Path) -> Path:
    (folder / "elsewhere.bin").write_bytes(nifti())
    (folder / "a.nii").symlink_to("elsewhere.bin")
    return folder / "a.nii"


def _detached(folder: Path) -> Path:
    (folder / "a.raw").write_bytes(RAW)
    header = text_image(NRRD, {"\n\n": "\ndata file: a.raw\n"}, b"")
    (folder / "a.nhdr").write_bytes(header)
    return folder / "a.nhdr"


def _mhd(folder: Path) -> Path:
    (folder / "a.raw").write_bytes(RAW)
    (folder / "a.mhd").write_bytes(text_image(META, {"LOCAL": "a.raw"}, b""))
    return folder / "a.mhd"


def _nrrd(name: str, changes: dict[str, str], data: bytes = RAW, **told: Any) -> Case:
    told = {"affine": NRRD_AFFINE, **told}
    return good(name, text_image(NRRD, changes, data), file="a.nrrd", **told)


def _mha(name: str, changes: dict[str, str], data: bytes = RAW, **told: Any) -> Case:
    told = {"affine": NRRD_AFFINE, **told}
    return good(name, text_image(META, changes, data), file="a.mha", **told)


_PACKED = {"CompressedData = False": "CompressedData = True"}
_RAS = {"left-posterior-superior": "right-anterior-superior"}
_SCALED = voxels(dtype="f4") * 2 - 10
_NEGATIVE = voxels(dtype="f4") * -1 + 100
_HERE = Truth(voxels(), AFFINE)
_THERE = Truth(voxels(), NRRD_AFFINE)

ODD_SCANS = (
    *map(from_row, ODD),
    *map(_typed, ("u1", "i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8")),
    *map(_turned, ("LPS", "LAS", "RPI", "PSR", "ASL", "SPL")),
    _order("big-endian, int16", "i2"),
    _order("big-endian, float32", "f4"),
    _order("big-endian, float64", "f8"),
    _order("big-endian, NIfTI-2", "i2", nib.Nifti2Image),
    good("NIfTI-2", nifti2()),
    good("one voxel", nifti(np.full((1, 1, 1), 77, "i2")), np.full((1, 1, 1), 77)),
    good("one row", nifti(voxels((1, 1, 40))), voxels((1, 1, 40))),
    good("four dimensions, one frame", nifti(voxels((5, 6, 7, 1)))),
    good("seven dimensions of which four are 1", nifti(voxels((5, 6, 7, 1, 1, 1, 1)))),
    good("slope 2, inter -10", nifti(scl_slope=2, scl_inter=-10), _SCALED),
    good("slope -1, inter 100", nifti(scl_slope=-1, scl_inter=100), _NEGATIVE),
    good("slope 0, inter 0", nifti(scl_slope=0, scl_inter=0)),
    good("qform only", nifti(sform_code=0)),
    good("sform only", nifti(qform_code=0)),
    good("sform only, the quaternion nonsense", nifti(qform_code=0, quatern=(np.nan, 9, 9))),
    good("sform and qform a hair apart", nifti(qoffset=(20.005, 30, -40))),
    good("oblique", nifti(affine=_oblique()), affine=_oblique()),
    good(
        "sform of a tiny shear",
        nifti(srow=rows_of(sheared(0.1)), qform_code=0),
        affine=sheared(0.1),
    ),
    good("units of time only", nifti(xyzt_units=8)),
    good("gzip of two members", _members, file="a.nii.gz"),
    good("gzip with a name and a comment", _named_member, file="a.nii.gz"),
    good("gzip and an empty member", lambda: gz(nifti()) + gz(b""), file="a.nii.gz"),
    good("gzip padded with zeros", lambda: gz(nifti()) + bytes(512), file="a.nii.gz"),
    good("suffix in capitals", nifti(), file="A.NII"),
    good("a name of spaces and braces", nifti(), file=" a {b} [c] %s.nii"),
    Case("pair", "scan", _pair, truth=_HERE),
    Case("link to a file without suffix", "scan", _linked, truth=_HERE),
    Case("NRRD and its data beside it", "scan", _detached, truth=_THERE),
    Case("MHD and its data beside it", "scan", _mhd, truth=_THERE),
    _nrrd("NRRD", {}),
    _nrrd("NRRD packed", {"raw": "gzip"}, gz(RAW)),
    _nrrd("NRRD big-endian", {"endian: little": "endian: big"}, _SWAPPED),
    _nrrd("NRRD in RAS", _RAS, affine=_at(np.diag([2.0, 2, 3, 1]), 1, 2, 3)),
    _nrrd("NRRD with keys and remarks", {"endian": "# <b>x</b>\nname:=$(rm)\nendian"}),
    _nrrd("NRRD whose type has another name", {"type: short": "type: int16"}),
    _mha("MHA", {}),
    _mha("MHA packed", _PACKED, zlib.compress(RAW)),
    _mha("MHA big-endian", {"OrderMSB = False": "OrderMSB = True"}, _SWAPPED),
)
