"""Holes: what a label encloses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap
from medseg.postprocess.choice import box_of, chosen, number_of
from medseg.step import Step

_WORLD = ("LR", "PA", "IS")


@dataclass(frozen=True)
class FillHoles(Step):
    """Fill background that a label encloses, up to ``max_ml`` a hole.

    ``axis`` fills slice by slice: 0 in sagittal, 1 in coronal, 2 in axial slices, however the
    scan is stored. Only background is filled, never another label, and by the label that
    encloses it most closely. A region of several values fills with the value it is written by.
    A scan of depth 1 is filled as the slice that it is.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: tuple[str, ...] | None = None
    max_ml: float | None = None
    axis: Literal[0, 1, 2] | None = None

    def __post_init__(self) -> None:
        if self.max_ml is not None and self.max_ml <= 0:
            raise ValueError(f"max_ml is above 0, not {self.max_ml}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask with its holes filled."""
        names = chosen(mask, self.labels)
        box = box_of((number_of(mask.labels, names) > 0)[mask.data], (1, 1, 1))
        if box is None:
            return mask
        pieces = _Pieces.of(np.ascontiguousarray(mask.data[box]), self._across(mask.grid))
        most = np.inf if self.max_ml is None else self.max_ml / mask.grid.voxel_ml + 1e-6
        writes = dict(zip(mask.labels.names, mask.labels.painted, strict=True))
        fill = np.zeros(len(pieces.values), mask.data.dtype)
        closest = np.full(len(fill), np.inf)
        for name in names:
            hole = pieces.holes(mask.labels[name].values)
            fits = (pieces.values == 0) & (hole <= most) & (hole < closest)
            fill[fits], closest[fits] = writes[name], hole[fits]
        if not fill.any():
            return mask
        data = mask.data.copy()
        data[box] += fill[pieces.numbered]
        return mask.with_data(data)

    def _across(self, grid: Grid) -> int | None:
        """The voxel axis that the slices lie across."""
        if self.axis is None:
            return None
        return next(i for i, code in enumerate(grid.axcodes) if code in _WORLD[self.axis])


@dataclass(frozen=True, eq=False)
class _Pieces:
    """A mask as pieces of one value each (6-connected), and which of them touch.

    The complement of every label is made of whole pieces, so one pass over the voxels is enough
    for all labels; the rest happens among some thousand pieces.
    """

    numbered: NDArray[np.uint32]
    values: NDArray[np.integer]
    sizes: NDArray[np.int64]
    touching: NDArray[np.int64]
    open: NDArray[np.bool_]

    @classmethod
    def of(cls, data: NDArray[Any], across: int | None) -> _Pieces:
        """Pieces of a mask (X, Y, Z), or of its slices across an axis."""
        import cc3d

        # 0 would be left out; and slices of different numbers do not grow together.
        coded = data.astype(np.uint32) + 1
        if across is not None:
            slices = np.arange(data.shape[across], dtype=np.uint32) * (int(data.max()) + 1)
            coded += slices.reshape([-1 if axis == across else 1 for axis in range(3)])
        numbered = cc3d.connected_components(coded, connectivity=6)
        sizes = cc3d.statistics(numbered, no_slice_conversion=True)["voxel_counts"]
        values = np.zeros(len(sizes), data.dtype)
        values[numbered] = data
        axes = [axis for axis in range(3) if axis != across and data.shape[axis] > 1]
        opened = np.full(len(sizes), not axes)  # a lone voxel encloses nothing
        for axis in axes:
            opened[numbered.take([0, -1], axis=axis)] = True
        values[0] = 1  # no piece has the number 0
        return cls(numbered, values, sizes.astype(np.int64), _touching(numbered, axes), opened)

    def holes(self, values: Sequence[int]) -> NDArray[np.float64]:
        """For each piece the voxels of the hole in a label that it lies in; infinite elsewhere."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.values)
        label = np.isin(self.values, values)
        first, second = self.touching[:, ~label[self.touching].any(0)]
        graph = coo_array((np.ones(len(first), bool), (first, second)), (count, count))
        parts, part = connected_components(graph, directed=False)
        size = np.bincount(part, self.sizes, parts)
        size[part[self.open & ~label]] = np.inf
        found = size[part]
        found[label] = np.inf
        return np.asarray(found)


def _touching(numbered: NDArray[np.uint32], axes: Sequence[int]) -> NDArray[np.int64]:
    """Pairs (2, n) of pieces that share a face along one of the axes."""
    count = int(numbered.max()) + 1
    pairs = [np.empty(0, np.int64)]
    for axis in axes:
        turned = np.moveaxis(numbered, axis, 0)
        before, after = turned[:-1], turned[1:]
        differ = before != after
        pairs.append(np.unique(before[differ].astype(np.int64) * count + after[differ]))
    return np.stack(np.divmod(np.unique(np.concatenate(pairs)), count))
