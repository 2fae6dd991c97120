"""By which rule scores become a mask on another grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medseg.image import Grid
from medseg.image.coarse import CoarseAxis
from medseg.image.resampling import axis_maps


@dataclass(frozen=True)
class Decision:
    """What is averaged over networks and brought to the scan's grid, and how, then decided.

    ``scores`` are probabilities, or the logits before the softmax or the sigmoid (as nnU-Net
    has it). ``coarse_axis`` treats thick slices on their own, as the step ``spacing`` does; the
    voxels before are then those of ``pixdim`` (null: the scan's own along that axis), or of the
    preprocessed grid where that is left out.
    """

    scores: Literal["probabilities", "logits"] = "probabilities"
    coarse_axis: CoarseAxis | None = None
    pixdim: tuple[float | None, float | None, float | None] | None = None

    def transposed(self, axes: Sequence[int]) -> Decision:
        """The same rule for scores whose axis i is the old axis ``axes[i]``."""
        if self.pixdim is None:
            return self
        x, y, z = (self.pixdim[axis] for axis in axes)
        return replace(self, pixdim=(x, y, z))

    def nearest_axis(self, source: Grid, target: Grid) -> int | None:
        """The axis of ``target`` along which the nearest voxel is taken; None for no such."""
        maps = axis_maps(target, source)
        if self.coarse_axis is None or self.coarse_axis.mode != "nearest" or maps is None:
            return None
        order = sorted(range(3), key=lambda axis: maps[axis].source)
        after = [target.spacing_mm[axis] for axis in order]
        pixdim = self.pixdim or source.spacing_mm
        before = [a if p is None else p for a, p in zip(after, pixdim, strict=True)]
        found = self.coarse_axis.of(before, after)
        return None if found is None else order[found]


PROBABLE = Decision()
"""What every step has that says nothing else."""
