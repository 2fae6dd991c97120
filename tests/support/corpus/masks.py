"""Masks beside a good scan: references, whole and broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.corpus.case import Case, put
from support.image_bytes import AFFINE, SHAPE, gz, nifti

_MASK = (np.indices(SHAPE).sum(0) > 9).astype("u1")


def _mask(
    name: str, ends: str, data: bytes, warns: tuple[str, ...] = (), file: str = "m.nii"
) -> Case:
    return Case(name, "mask", put(file, data), ends, warns)


def _of(dtype: str, factor: float = 1) -> NDArray[Any]:
    return (_MASK.astype("f8") * factor).astype(dtype)


def _moved(*by: float) -> NDArray[np.float64]:
    affine = AFFINE.copy()
    affine[:3, 3] += by
    return affine


def _one(value: float, dtype: str) -> NDArray[Any]:
    data = _of(dtype)
    data[0, 0, 0] = value
    return data


def _folder(folder: Path) -> Path:
    (folder / "m.nii").mkdir()
    return folder / "m.nii"


def _gone(folder: Path) -> Path:
    return folder / "m.nii"


_FLIP = AFFINE @ np.array([[-1.0, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
_DAMAGED = bytearray(gz(nifti(_MASK)))
_DAMAGED[-6] ^= 1

MASKS = (
    _mask("a mask", "done", nifti(_MASK)),
    _mask("float64", "done", nifti(_of("f8"))),
    _mask("nearly whole", "done", nifti(_of("f4", 0.9999)), ("W_LABEL_ROUNDED",)),
    _mask("stored from the other side", "done", nifti(_MASK[::-1], _FLIP), ("W_LABEL_REORIENTED",)),
    _mask("halves", "E_LABEL_NOT_INTEGER", nifti(_of("f4", 0.5))),
    _mask("scaled by 1/255", "E_LABEL_NOT_INTEGER", nifti(_of("u1"), scl_slope=1 / 255)),
    _mask("one voxel not whole", "E_LABEL_NOT_INTEGER", nifti(_one(0.3, "f4"))),
    _mask("one voxel NaN", "E_NONFINITE", nifti(_one(np.nan, "f4"))),
    _mask("one voxel infinite", "E_NONFINITE", nifti(_one(np.inf, "f4"))),
    _mask("0 and 255", "E_LABEL_VALUES", nifti(_of("u1", 255))),
    _mask("a value below 0", "E_LABEL_VALUES", nifti(_of("i2", -1))),
    _mask("a value of 2**24 + 1", "E_LABEL_VALUES", nifti(_of("i4", 2**24 + 1))),
    _mask("a value of 2**63", "E_LABEL_VALUES", nifti(_of("f8", 2.0**63))),
    _mask("1 mm away", "E_LABEL_GEOMETRY", nifti(_MASK, _moved(1, 0, 0))),
    _mask("mirrored", "E_LABEL_GEOMETRY", nifti(_MASK, np.diag([-1, 1, 1, 1]) @ AFFINE)),
    _mask("of another shape", "E_LABEL_GEOMETRY", nifti(_MASK[:4])),
    _mask(
        "of half the voxel size",
        "E_LABEL_GEOMETRY",
        nifti(_MASK, AFFINE @ np.diag([0.5, 0.5, 0.5, 1])),
    ),
    _mask("of two frames", "E_NDIM", nifti(np.stack([_MASK, _MASK], -1))),
    _mask("complex", "E_DTYPE", nifti(_of("c8"))),
    _mask("cut", "E_TRUNCATED", nifti(_MASK)[:-9]),
    _mask("damaged", "E_CORRUPT_GZIP", bytes(_DAMAGED), file="m.nii.gz"),
    _mask("no bytes", "E_EMPTY_FILE", b""),
    _mask("a picture of a mask", "E_NOT_AN_IMAGE", b"\x89PNG\r\n\x1a\n" + bytes(100)),
    _mask(
        "neither sform nor qform", "E_GEOMETRY_MISSING", nifti(_MASK, sform_code=0, qform_code=0)
    ),
    Case("a folder", "mask", _folder, "E_NOT_A_FILE"),
    Case("not there", "mask", _gone, "E_NOT_FOUND"),
)
