"""One row of the corpus: what is made, and how it must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from support.image_bytes import AFFINE, voxels

Kind = Literal["scan", "series", "mask", "folder", "pipeline", "weights"]
NRRD_AFFINE = np.array([[-2.0, 0, 0, -1], [0, -2.0, 0, -2], [0, 0, 3.0, 3], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Truth:
    """What a scan holds, by whoever made it: values (X, Y, Z) and the affine to RAS mm."""

    values: NDArray[Any]
    affine: NDArray[np.float64]


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
