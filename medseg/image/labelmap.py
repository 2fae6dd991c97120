"""A mask with its place in the patient and the meaning of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image.grid import Grid
from medseg.image.labels import Labels

Mask = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """``data (X, Y, Z)`` uint8 or uint16 on a grid; 0 is the background."""

    data: Mask
    grid: Grid
    labels: Labels

    def __post_init__(self) -> None:
        if self.data.dtype not in (np.uint8, np.uint16) or self.data.shape != self.grid.shape:
            raise ValueError(
                f"a label map is uint8 or uint16 on {self.grid.shape},"
                f" not {self.data.dtype} {self.data.shape}"
            )

    def where(self, name: str) -> NDArray[np.bool_]:
        """The voxels (X, Y, Z) that belong to a label or region."""
        values = self.labels[name].values
        if len(values) == 1:
            return np.asarray(self.data == values[0])
        return np.isin(self.data, values)

    def with_data(self, data: Mask) -> LabelMap:
        """The same grid and labels with other voxels."""
        return LabelMap(data, self.grid, self.labels)

    def volumes_ml(self) -> Mapping[str, float]:
        """Volume of each label or region in ml, counted in one pass."""
        from medseg.image.tally import tally

        counts = tally(self.data)
        return {
            label.name: float(sum(counts[v] for v in label.values if v < counts.size))
            * self.grid.voxel_ml
            for label in self.labels
        }


def mask_dtype(labels: Labels) -> type[np.unsignedinteger[Any]]:
    """The smallest of uint8 and uint16 that holds every value of the table."""
    highest = max(labels.values | {labels.ignore or 0})
    return np.uint8 if highest <= 255 else np.uint16
