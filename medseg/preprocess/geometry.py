"""Steps that bring a volume onto another grid; the voxels change hands in one place only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.image import Grid, Volume
from medseg.image.box import box_around
from medseg.image.coarse import CoarseAxis
from medseg.image.resampling import resample
from medseg.preprocess.channels import check_channels, chosen_channels
from medseg.step import Step

Axis = Literal[0, 1, 2]


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
class Transpose(Step):
    """Put the axes in another order as they are stored, wherever they point; 0 is the first.

    Axis i of what comes out is axis ``indices[i]`` of what came in.
    """

    indices: tuple[Axis, Axis, Axis] = (2, 1, 0)

    def __post_init__(self) -> None:
        if sorted(self.indices) != [0, 1, 2]:
            raise ValueError(f"indices name each of 0, 1 and 2 once, not {self.indices}")

    def __call__(self, volume: Volume) -> Volume:
        """The same voxels in another order."""
        return resample(volume, self.grid_of(volume.grid))

    def grid_of(self, grid: Grid) -> Grid:
        """The grid of what a volume on ``grid`` becomes."""
        return grid.transposed(self.indices)


@dataclass(frozen=True)
class Spacing(Step):
    """Resample to voxels of ``pixdim`` mm; null keeps an axis as it is.

    ``mode`` is linear, cubic (a spline of order 3, clipped to the image's range) or nearest.
    ``align: centre`` makes the voxels exactly so large, about the same centre; ``align: edges``
    keeps the field of view to its edges, and the voxels as nearly so large as whole ones can be
    (as nnU-Net does); ``align: first`` keeps the first voxel's centre (as MONAI does).
    ``coarse_axis`` treats thick slices on their own: where one side of the
    voxels, before or after, is more than ``above`` times another, slices across the longest are
    resampled one by one, and along it the ``mode`` is its own.
    """

    pixdim: tuple[float | None, float | None, float | None]
    mode: Literal["linear", "cubic", "nearest"] = "linear"
    align: Literal["centre", "edges", "first"] = "centre"
    coarse_axis: CoarseAxis | None = None

    def __post_init__(self) -> None:
        if any(side is not None and not 0.01 <= side <= 100 for side in self.pixdim):
            raise ValueError(f"pixdim is three lengths from 0.01 to 100 mm, not {self.pixdim}")

    def __call__(self, volume: Volume) -> Volume:
        """The volume on a grid of that spacing."""
        kept, wanted = volume.grid.spacing_mm, self._wanted(volume.grid)
        apart = None if self.coarse_axis is None else self.coarse_axis.apart(kept, wanted)
        return resample(volume, self.grid_of(volume.grid), self.mode, apart=apart)

    def grid_of(self, grid: Grid) -> Grid:
        """The grid of what a volume on ``grid`` becomes."""
        kept, wanted = grid.spacing_mm, self._wanted(grid)
        if self.align == "centre":
            return grid.spaced(wanted)
        if self.align == "first":
            return grid.spaced_from_first(wanted)
        # To the even number from half-way, as Python rounds.
        sides = zip(kept, wanted, grid.shape, strict=True)
        return grid.resized([max(1, round(k / w * n)) for k, w, n in sides])

    def _wanted(self, grid: Grid) -> list[float]:
        pairs = zip(grid.spacing_mm, self.pixdim, strict=True)
        return [kept if wanted is None else wanted for kept, wanted in pairs]


@dataclass(frozen=True)
class CropForeground(Step):
    """Cut the box around all voxels above ``threshold``, and ``margin`` voxels around it.

    ``nonzero`` takes voxels other than 0 instead, negative ones too. The box ends at the edges
    of the scan. ``channels``, counted from 0, are those that are looked at; null is every one.
    Where nothing is above, nothing is cut.
    """

    threshold: float = 0.0
    margin: int = 0
    channels: tuple[int, ...] | None = None
    nonzero: bool = False

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise ValueError(f"margin is 0 voxels or more, not {self.margin}")
        if self.nonzero and self.threshold:
            raise ValueError("threshold and nonzero say two things of the same voxels")
        check_channels(self.channels)

    def __call__(self, volume: Volume) -> Volume:
        """The box of the foreground."""
        # As the scan lies in memory, so does what is found in it.
        above = np.empty_like(volume.data[0], bool)
        above[...] = False
        for channel in chosen_channels(volume, self.channels):
            image = volume.data[channel]
            above |= image != 0 if self.nonzero else image > self.threshold
        box = box_around(above, (self.margin,) * 3)
        return volume if box is None else resample(volume, volume.grid.cropped(*box))
