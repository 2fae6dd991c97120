"""Steps about connected components: one pass over the mask for all exclusive labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap
from medseg.postprocess.choice import box_of, chosen, number_of, without
from medseg.step import Step

Connectivity = Literal[6, 18, 26]


@dataclass(frozen=True, eq=False)
class Pieces:
    """The connected components of one label: voxels in each, and the index of its centre."""

    sizes: NDArray[np.int64]
    centres: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Pruning(Step, ABC):
    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: tuple[str, ...] | None = None
    connectivity: Connectivity = 26

    @abstractmethod
    def _kept(self, pieces: Pieces, grid: Grid) -> NDArray[np.bool_]:
        """Which components of a label stay."""

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask without the components that go."""
        names = chosen(mask, self.labels)
        # Regions share voxels, so each is looked at in what the one before it has left.
        groups = [names] if mask.labels.exclusive else [(name,) for name in names]
        for group in groups:
            mask = self._pruned(mask, group)
        return mask

    def _pruned(self, mask: LabelMap, names: Sequence[str]) -> LabelMap:
        import cc3d

        members = number_of(mask.labels, names)[mask.data]
        box = box_of(members > 0)
        if box is None:
            return mask
        members = np.ascontiguousarray(members[box])
        numbered = cc3d.connected_components(members, connectivity=self.connectivity)
        found = cc3d.statistics(numbered, no_slice_conversion=True)
        sizes = found["voxel_counts"].astype(np.int64)
        centres = found["centroids"] + [side.start for side in box]
        owner = np.zeros(len(sizes), members.dtype)
        owner[numbered] = members
        gone = np.zeros(len(sizes), bool)
        for place in range(len(names)):
            mine = np.flatnonzero(owner == place + 1)
            gone[mine] = ~self._kept(Pieces(sizes[mine], centres[mine]), mask.grid)
        return without(mask, box, gone[numbered], names) if gone.any() else mask


@dataclass(frozen=True, kw_only=True)
class KeepLargest(_Pruning):
    """Keep the ``count`` largest connected components of each label.

    ``labels`` null is every label. A region of several values is taken as one; what is removed
    stays in the regions around it, else it becomes background. Of equal components the one whose
    centre lies farthest left stays, then farthest back, then lowest, so that a scan's storage
    order changes nothing.
    """

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is at least 1, not {self.count}")

    def _kept(self, pieces: Pieces, grid: Grid) -> NDArray[np.bool_]:
        sizes = pieces.sizes
        if len(sizes) <= self.count:
            return np.ones(len(sizes), bool)
        least = np.partition(sizes, -self.count)[-self.count]
        kept = np.asarray(sizes > least)
        tied = np.flatnonzero(sizes == least)
        places = np.round(grid.world(pieces.centres[tied]), 3).tolist()
        order = sorted(range(len(tied)), key=places.__getitem__)
        kept[tied[order[: self.count - int(kept.sum())]]] = True
        return kept


@dataclass(frozen=True, kw_only=True)
class RemoveSmall(_Pruning):
    """Remove components below a volume: ``min_ml`` or ``min_voxels``, one of them.

    ``labels`` null is every label. What is removed from a region stays in the regions around it,
    else it becomes background.
    """

    min_ml: float | None = None
    min_voxels: int | None = None

    def __post_init__(self) -> None:
        if (self.min_ml is None) == (self.min_voxels is None):
            raise ValueError("remove_small needs either min_ml or min_voxels")
        if (self.min_ml or self.min_voxels or 0) <= 0:
            raise ValueError("the least size is above 0")

    def _kept(self, pieces: Pieces, grid: Grid) -> NDArray[np.bool_]:
        least = self.min_voxels or (self.min_ml or 0) / grid.voxel_ml
        # A millionth of a voxel for what rounding leaves of exact volumes.
        return np.asarray(pieces.sizes >= least - 1e-6)
