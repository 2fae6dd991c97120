"""How often each value occurs in a mask, counted by a compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.compiled import compiled

_WAYS = 4


def tally(data: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.int64]:
    """How often each value from 0 to that type's highest stands in ``data``."""
    counts = np.zeros((_WAYS, int(np.iinfo(data.dtype).max) + 1), np.int64)
    _count(data.ravel(order="K"), counts)
    total: NDArray[np.int64] = counts.sum(0)
    return total


@compiled
def _count(values: NDArray[Any], counts: NDArray[np.int64]) -> None:
    # Neighbours are mostly equal; in turn they do not wait for one another's count.
    for place in range(values.size):
        counts[place % _WAYS, values[place]] += 1
