"""Steps about connected components: one pass over the mask for all labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap
from medseg.postprocess.choice import chosen, without
from medseg.step import Step

Connectivity = Literal[6, 18, 26]


def components(mask: LabelMap, names: Sequence[str], connectivity: int) -> list[_Pieces]:
    """The connected pieces of each label or region, in the order of ``names``.

    Labels of one value are found in a single pass; a region of several values is one thing.
    """
    import cc3d

    single = {name for name in names if len(mask.labels[name].values) == 1}
    values = [mask.labels[name].values[0] for name in names if name in single]
    table = np.zeros(int(mask.data.max(initial=0)) + 1, mask.data.dtype)
    for value in values:
        if value < len(table):
            table[value] = value
    together = cc3d.connected_components(table[mask.data], connectivity=connectivity)
    sizes = np.bincount(together.ravel())
    # The value of a component is that of any one of its voxels.
    owner = np.zeros(len(sizes), mask.data.dtype)
    owner[together.ravel()] = mask.data.ravel()
    found = []
    for name in names:
        if name in single:
            mine = np.flatnonzero(owner == mask.labels[name].values[0])
            found.append(_Pieces(together, mine[mine > 0], sizes))
        else:
            marked = cc3d.connected_components(mask.where(name), connectivity=connectivity)
            counts = np.bincount(marked.ravel())
            found.append(_Pieces(marked, np.arange(1, len(counts)), counts))
    return found


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Components (X, Y, Z) by number, the numbers of one label, and sizes by number."""

    numbered: NDArray[np.uint32]
    numbers: NDArray[np.intp]
    sizes: NDArray[np.intp]

    def small(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Voxels (X, Y, Z) of this label's components that are not kept."""
        dropped = np.zeros(len(self.sizes), bool)
        dropped[self.numbers[~keep]] = True
        return np.asarray(dropped[self.numbered])

    def largest(self, count: int, grid: Grid) -> NDArray[np.bool_]:
        """Which of this label's components are the ``count`` largest."""
        import cc3d

        sizes = self.sizes[self.numbers]
        if len(sizes) <= count:
            return np.ones(len(sizes), bool)
        least = np.partition(sizes, -count)[-count]
        keep = np.asarray(sizes > least)
        tied = np.flatnonzero(sizes == least)
        left = count - int(keep.sum())
        if len(tied) > left:
            centres = cc3d.statistics(self.numbered)["centroids"][self.numbers[tied]]
            places = np.round(grid.world(centres), 3).tolist()
            tied = tied[sorted(range(len(tied)), key=places.__getitem__)[:left]]
        keep[tied] = True
        return keep


@dataclass(frozen=True)
class KeepLargest(Step):
    """Keep the ``count`` largest connected components of each label.

    ``labels`` None is every label. A region of several values is taken as one; what is removed
    becomes background. Of equal components the one whose centre lies farthest left stays, then
    farthest back, then lowest, so that a scan's storage order changes nothing.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: tuple[str, ...] | None = None
    connectivity: Connectivity = 26
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is at least 1, not {self.count}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask without the smaller components."""
        for pieces in components(mask, chosen(mask, self.labels), self.connectivity):
            keep = pieces.largest(self.count, mask.grid)
            mask = without(mask, pieces.small(keep)) if not keep.all() else mask
        return mask


@dataclass(frozen=True)
class RemoveSmall(Step):
    """Remove components below a volume: ``min_ml`` or ``min_voxels``, one of them."""

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: tuple[str, ...] | None = None
    min_ml: float | None = None
    min_voxels: int | None = None
    connectivity: Connectivity = 26

    def __post_init__(self) -> None:
        if (self.min_ml is None) == (self.min_voxels is None):
            raise ValueError("remove_small needs either min_ml or min_voxels")
        if (self.min_ml or self.min_voxels or 0) <= 0:
            raise ValueError("the least size is above 0")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask without components that are smaller."""
        least = self.min_voxels or (self.min_ml or 0) / mask.grid.voxel_ml
        for pieces in components(mask, chosen(mask, self.labels), self.connectivity):
            # A millionth of a voxel for what rounding leaves of exact volumes.
            keep = pieces.sizes[pieces.numbers] >= least - 1e-6
            mask = without(mask, pieces.small(keep)) if not keep.all() else mask
        return mask
