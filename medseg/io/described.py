"""What a header says of its voxels, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.errors import Caution
from medseg.io.geometry import Geometry
from medseg.io.options import ReadOptions

Locate = Callable[[ReadOptions], tuple[Geometry, tuple[Caution, ...]]]


@dataclass(frozen=True)
class Described:
    """The voxels of a file: how many, of what type, where they begin, and where they lie.

    ``frames`` are X, Y, Z and the number of frames; voxels lie x fastest, ``skip`` bytes from
    here, in ``data_file`` or (None) in the same file. ``locate`` reads the geometry.
    """

    frames: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    locate: Locate
    skip: int = 0
    slope: float = 1.0
    inter: float = 0.0
    packing: Literal["plain", "gzip", "zlib", "perhaps gzip"] = "plain"
    data_file: Path | None = None
    cautions: tuple[Caution, ...] = ()
    own_mask: bool = False
    """Whether medseg wrote it."""

    @property
    def voxels(self) -> int:
        """Voxels of all frames."""
        return prod(self.frames)

    @property
    def bytes(self) -> int:
        """Bytes of all voxels, unpacked."""
        return self.voxels * self.dtype.itemsize
