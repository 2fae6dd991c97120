"""One row of the corpus: what is made, and how it must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from support.image_bytes import AFFINE, voxels

_TOLERANCE_MM = 0.02
Kind = Literal["scan", "series", "mask", "folder", "pipeline", "weights"]
NRRD_AFFINE = np.array([[-2.0, 0, 0, -1], [0, -2.0, 0, -2], [0, 0, 3.0, 3], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Truth:
    """What a scan holds, by whoever made it: values (X, Y, Z) and the affine to RAS mm."""

    values: NDArray[Any]
    affine: NDArray[np.float64]

    def agrees(self, values: NDArray[Any], affine: NDArray[np.float64]) -> bool:
        """Whether these are the same values at the same places, in whatever order of storage.

        An axis of a 2-D image that has no length is not looked at.
        """
        if values.ndim == 2 or values.shape[2:3] == (1,):
            affine = np.where(np.abs(affine).sum(0) > 0, affine, self.affine)
        ours, where = _in_ras(self.values, self.affine)
        theirs, there = _in_ras(values, affine)
        if ours.shape != theirs.shape or np.abs(where - there).max() > _TOLERANCE_MM:
            return False
        return np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def _in_ras(
    values: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Turned to the nearest of right, anterior and superior; sides of 1 beyond three left out."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    values = values.reshape(values.shape + (1,) * (3 - values.ndim))
    order = io_orientation(affine)
    return apply_orientation(values, order), affine @ inv_ornt_aff(order, values.shape[:3])


@dataclass(frozen=True, eq=False)
class Case:
    """``make`` puts it into an empty folder and gives the path that is to be read.

    ``kind`` says what it is tried as. ``ends`` is ``done``, then with the warnings ``warns`` and
    by the ``truth``, or the code of the error.
    """

    name: str
    kind: Kind
    make: Callable[[Path], Path]
    ends: str = "done"
    warns: tuple[str, ...] = ()
    truth: Truth | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def put(name: str, data: bytes | Callable[[], bytes]) -> Callable[[Path], Path]:
    """Make a file of these bytes."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data() if callable(data) else data)
        return path

    return make


def good(
    name: str,
    data: bytes | Callable[[], bytes],
    values: NDArray[Any] | None = None,
    affine: NDArray[np.float64] = AFFINE,
    *,
    file: str = "a.nii",
    warns: tuple[str, ...] = (),
) -> Case:
    """A file that must be read, and rightly."""
    truth = Truth(voxels() if values is None else values, affine)
    return Case(name, "scan", put(file, data), "done", warns, truth)


def bad(name: str, ends: str, data: bytes | Callable[[], bytes], file: str = "a.nii") -> Case:
    """A file that must be refused."""
    return Case(name, "scan", put(file, data), ends)
