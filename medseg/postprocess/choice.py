"""Which labels a step is about, where they are, and what becomes of voxels it takes away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import LabelMap, Labels
from medseg.image.box import box_around

Box = tuple[slice, slice, slice]
_VALUES = 65536


def chosen(mask: LabelMap, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names, or those of every label. Raises StudyError E_CONFIG for one that is not there."""
    known = mask.labels.names
    for name in names or ():
        if name not in known:
            raise StudyError(
                "E_CONFIG", f"no label of this mask is called {name!r}; it has {known}"
            )
    return known if names is None else tuple(names)


def number_of(labels: Labels, names: Sequence[str]) -> NDArray[np.uint16]:
    """For each mask value the place of its label among ``names``, from 1; else 0.

    Where a value belongs to several of them the last one counts.
    """
    table = np.zeros(_VALUES, np.uint16)
    for place, name in enumerate(names):
        table[list(labels[name].values)] = place + 1
    return table


def box_of(marked: NDArray[np.bool_], margin: Sequence[int] = (0, 0, 0)) -> Box | None:
    """The box around what is marked (X, Y, Z) and ``margin`` voxels more; None around nothing."""
    found = box_around(marked, margin)
    if found is None:
        return None
    x, y, z = (slice(a, b) for a, b in zip(*found, strict=True))
    return (x, y, z)


def reach(mask: LabelMap, length_mm: float) -> tuple[int, int, int]:
    """The whole voxels along each axis that cover a length."""
    x, y, z = (int(np.ceil(length_mm / side)) for side in mask.grid.spacing_mm)
    return (x, y, z)


def beneath(labels: Labels, names: Sequence[str]) -> NDArray[np.uint16]:
    """What each mask value becomes where a voxel is taken from one of these labels.

    A voxel stays in the other regions it was in: taken from the enhancing tumour it becomes core,
    taken from the core edema, taken from the whole tumour background. An exclusive label leaves
    background.
    """
    holders = {
        value: {label.name for label in labels if value in label.values} for value in labels.values
    }
    fullest = sorted(holders, key=lambda value: (-len(holders[value]), value))
    table = np.arange(_VALUES, dtype=np.uint16)
    for name in names:
        for value in labels[name].values:
            left = holders[value] - {name}
            table[value] = next((v for v in fullest if holders[v] <= left), 0) if left else 0
    return table


def without(mask: LabelMap, box: Box, removed: NDArray[np.bool_], names: Sequence[str]) -> LabelMap:
    """The mask with the voxels ``removed`` (of a box) taken from these labels."""
    data = mask.data.copy()
    data[box][removed] = beneath(mask.labels, names)[data[box][removed]]
    return mask.with_data(data)
