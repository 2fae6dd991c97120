"""Steps that bring a volume onto another grid; the voxels change hands in one place only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.image import Grid, Volume
from medseg.image.box import box_around
from medseg.image.resampling import resample
from medseg.preprocess.channels import check_channels, chosen_channels
from medseg.step import Step


@dataclass(frozen=True)
class Orientation(Step):
    """Turn and swap axes to follow ``axcodes``; no voxel is interpolated."""

    axcodes: str = "RAS"

    def __post_init__(self) -> None:
        worlds = {"LR": 0, "PA": 0, "IS": 0}
        for code in self.axcodes:
            for pair in worlds:
                worlds[pair] += code in pair
        if len(self.axcodes) != 3 or set(worlds.values()) != {1}:
            raise ValueError(
                f"axcodes name each of L/R, P/A and I/S once, such as RAS, not {self.axcodes!r}"
            )

    def __call__(self, volume: Volume) -> Volume:
        """The same voxels in another order."""
        return resample(volume, self.grid_of(volume.grid))

    def grid_of(self, grid: Grid) -> Grid:
        """The grid of what a volume on ``grid`` becomes."""
        return grid.oriented(self.axcodes)


@dataclass(frozen=True)
class Spacing(Step):
    """Resample to voxels of ``pixdim`` mm about the same centre; null keeps an axis as it is.

    ``mode`` is linear, cubic (a spline of order 3, clipped to the image's range) or nearest.
    """

    pixdim: tuple[float | None, float | None, float | None]
    mode: Literal["linear", "cubic", "nearest"] = "linear"

    def __post_init__(self) -> None:
        if any(side is not None and not 0.01 <= side <= 100 for side in self.pixdim):
            raise ValueError(f"pixdim is three lengths from 0.01 to 100 mm, not {self.pixdim}")

    def __call__(self, volume: Volume) -> Volume:
        """The volume on a grid of that spacing."""
        return resample(volume, self.grid_of(volume.grid), self.mode)

    def grid_of(self, grid: Grid) -> Grid:
        """The grid of what a volume on ``grid`` becomes."""
        kept = grid.spacing_mm
        return grid.spaced([k if w is None else w for k, w in zip(kept, self.pixdim, strict=True)])


@dataclass(frozen=True)
class CropForeground(Step):
    """Cut the box around all voxels above ``threshold``, and ``margin`` voxels around it.

    The box ends at the edges of the scan. ``channels``, counted from 0, are those that are
    looked at; null is every one. Where nothing is above, nothing is cut.
    """

    threshold: float = 0.0
    margin: int = 0
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise ValueError(f"margin is 0 voxels or more, not {self.margin}")
        check_channels(self.channels)

    def __call__(self, volume: Volume) -> Volume:
        """The box of the foreground."""
        above = np.zeros(volume.grid.shape, bool)
        for channel in chosen_channels(volume, self.channels):
            above |= volume.data[channel] > self.threshold
        box = box_around(above, (self.margin,) * 3)
        return volume if box is None else resample(volume, volume.grid.cropped(*box))
