"""Scores that follow the image: neighbours, and voxels alike, agree on a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from medseg.errors import StudyError
from medseg.image import Volume
from medseg.image.volume import Image
from medseg.inference.memory import memory_for
from medseg.inference.scores import Scores
from medseg.step import Step

if TYPE_CHECKING:
    from torch import Tensor

    from medseg.inference.gaussian_sums import Sums

_EXACT = 4000
"""Voxels up to which every pair of them is looked at."""
_FAR = 10.0
"""Robust deviations from the median beyond which an intensity is as good as there."""


@dataclass(frozen=True)
class DenseCrf(Step):
    """Let every voxel hear every other: a dense conditional random field.

    Krähenbühl and Koltun 2011, arXiv:1210.5644. Voxels within a few ``smoothness_mm`` tend to one
    label, by ``smoothness_weight``; voxels within a few ``appearance_mm`` that also look alike
    do, by ``appearance_weight``. How alike is told by ``appearance_intensity``, in robust standard
    deviations of each channel of the preprocessed image. ``iterations`` is how often they hear.
    Weights and ranges are searched on scans held back from training; too large ones wipe small
    structures out.

    ``method`` is exact (each pair of voxels, for some thousands of them), grid (a bilateral grid,
    for one channel) or lattice (the permutohedral lattice, for several channels); auto takes the
    first of these that can do it. On noisy phantoms the grid decided 99.98 % of voxels as the
    exact form, the lattice 99.9 %, and 98.6 % for four channels and narrow ranges.
    """

    smoothness_mm: float = 3.0
    smoothness_weight: float = 3.0
    appearance_mm: float = 10.0
    appearance_intensity: float = 0.5
    appearance_weight: float = 4.0
    iterations: int = 5
    method: Literal["auto", "exact", "grid", "lattice"] = "auto"

    def __post_init__(self) -> None:
        for name in ("smoothness_mm", "appearance_mm", "appearance_intensity"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")
        for name in ("smoothness_weight", "appearance_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, not {getattr(self, name)}")
        if self.iterations < 1:
            raise ValueError(f"iterations is at least 1, not {self.iterations}")

    def __call__(self, scores: Scores, image: Volume) -> Scores:
        """Probabilities of the same labels on the same grid, guided by ``image`` on it."""
        import torch

        if image.grid != scores.grid:
            raise ValueError("the image that guides scores is on their grid")
        with memory_for("dense_crf", "use a coarser spacing or 'within'"), torch.inference_mode():
            return replace(scores, data=self._refined(scores, image))

    def _refined(self, scores: Scores, image: Volume) -> Tensor:
        from medseg.inference.gaussian_sums import spatial_sums
        from medseg.inference.mean_field import mean_field

        spacing = scores.grid.spacing_mm
        pairwise = []
        if self.smoothness_weight:
            sums = spatial_sums([self.smoothness_mm / side for side in spacing], scores.data)
            pairwise.append((self.smoothness_weight, sums))
        if self.appearance_weight:
            pairwise.append((self.appearance_weight, self._alike(scores, image)))
        if not pairwise:
            return scores.data
        exclusive = scores.labels.exclusive
        return mean_field(scores.data, pairwise, self.iterations, exclusive=exclusive)

    def _alike(self, scores: Scores, image: Volume) -> Sums:
        """Sums over voxels that are near and look alike."""
        import torch

        from medseg.inference.gaussian_sums import BilateralGrid, exact_sums
        from medseg.inference.lattice import Lattice

        guide = torch.from_numpy(robust(image.data) / self.appearance_intensity)
        guide = guide.to(scores.data.device)
        reach = [self.appearance_mm / side for side in scores.grid.spacing_mm]
        method = self._chosen(guide)
        if method == "grid":
            return BilateralGrid(guide[0], reach)
        features = torch.cat([_places(reach, guide), guide])
        return exact_sums(features) if method == "exact" else Lattice(features)

    def _chosen(self, guide: Tensor) -> str:
        channels, *space = guide.shape
        if self.method == "grid" and channels > 1:
            told = f"the grid of dense_crf is for one channel, and the image has {channels}"
            raise StudyError("E_NDIM", told)
        if self.method != "auto":
            return self.method
        if prod(space) <= _EXACT:
            return "exact"
        return "grid" if channels == 1 else "lattice"


def robust(data: Image) -> Image:
    """Channels (C, X, Y, Z) about their medians, in standard deviations without their extremes.

    Extremes are the lowest and the highest half per cent; a constant channel is all 0.
    """
    told = np.zeros_like(data)
    for channel, into in zip(data, told, strict=True):
        low, middle, high = np.percentile(channel, (0.5, 50, 99.5))
        deviation = float(channel.clip(low, high).std(dtype=np.float64))
        if deviation > 0:
            np.clip((channel - middle) / deviation, -_FAR, _FAR, out=into)
    return told


def _places(reach: Sequence[float], like: Tensor) -> Tensor:
    """Where voxels of ``like (C, X, Y, Z)`` are, in standard deviations: (3, X, Y, Z)."""
    import torch

    sides = zip(reach, like.shape[1:], strict=True)
    axes = [torch.arange(side, device=like.device) / sigma for sigma, side in sides]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))
