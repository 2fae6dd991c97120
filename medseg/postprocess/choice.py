"""Which labels a step is about, and what becomes of voxels it takes away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap


def chosen(mask: LabelMap, names: Sequence[str] | None) -> Sequence[str]:
    """The names, or those of every label; KeyError for one that is not there."""
    if names is None:
        return mask.labels.names
    for name in names:
        mask.labels[name]
    return names


def without(mask: LabelMap, removed: NDArray[np.bool_]) -> LabelMap:
    """The mask with background where ``removed (X, Y, Z)`` says so."""
    data = mask.data.copy()
    data[removed] = 0
    return mask.with_data(data)
