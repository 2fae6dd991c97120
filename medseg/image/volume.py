"""An image with its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.image.grid import Grid

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Volume:
    """``data (C, X, Y, Z)`` float32, one channel or more, on one grid.

    In memory the voxels may lie in any order, also backwards: a scan that is only turned is the
    same memory seen otherwise.
    """

    data: Image
    grid: Grid

    def __post_init__(self) -> None:
        if self.data.dtype != np.float32 or self.data.ndim != 4:
            raise ValueError(
                f"a volume is (C, X, Y, Z) float32, not {self.data.shape} {self.data.dtype}"
            )
        if self.data.shape[0] < 1 or self.data.shape[1:] != self.grid.shape:
            raise ValueError(f"data {self.data.shape} do not fill the grid {self.grid.shape}")

    @property
    def channels(self) -> int:
        """How many channels there are (C)."""
        return int(self.data.shape[0])
