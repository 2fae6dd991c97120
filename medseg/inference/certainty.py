"""How sure scores are, on another grid: slab by slab, so that labels x voxels are never held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log, log2
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, Labels
from medseg.image.resampling import inside_of
from medseg.inference.scores import Scores

if TYPE_CHECKING:
    from torch import Tensor

Slab = tuple[slice, NDArray[np.float32]]
"""Rows of a grid's first axis, and a number for each of their voxels (rows, Y, Z)."""


def most_bits(labels: Labels) -> float:
    """The entropy of a voxel of which nothing is known."""
    return log2(labels.channels) if labels.exclusive else float(labels.channels)


def chances(scores: Scores, label: str, grid: Grid, temperature: float = 1.0) -> Iterator[Slab]:
    """The probability of one label on ``grid``; 0 outside the scores' field of view.

    Equal to interpolating all labels as the decision does. Raises KeyError for a label that the
    scores do not know.
    """
    from medseg.inference.probabilities import probable

    place = scores.labels.entries.index(scores.labels[label]) + int(scores.labels.exclusive)
    if scores.decision.scores == "probabilities" and temperature == 1:
        # Each label is interpolated for itself, and no other is wanted.
        yield from _read(scores, scores.data[place : place + 1], grid, lambda slab: slab[0])
    else:
        yield from _read(
            scores, scores.data, grid, lambda slab: probable(slab, scores, temperature)[place]
        )


def entropy(scores: Scores, grid: Grid, temperature: float = 1.0) -> Iterator[Slab]:
    """Shannon's entropy of each voxel in bits: 0 is certain, ``most_bits`` knows nothing.

    (Shannon 1948, doi:10.1002/j.1538-7305.1948.tb01338.x.) Of regions, which are decided one by
    one, it is the sum of theirs. 0 outside the scores' field of view.
    """

    def bits(slab: Tensor) -> Tensor:
        import torch

        from medseg.inference.probabilities import probable

        said = probable(slab, scores, temperature)
        found = torch.special.entr(said).sum(0)
        if not scores.labels.exclusive:
            found = found + torch.special.entr(1 - said).sum(0)
        in_bits: Tensor = found / log(2)
        return in_bits

    yield from _read(scores, scores.data, grid, bits)


def _read(
    scores: Scores, data: Tensor, grid: Grid, told: Callable[[Tensor], Tensor]
) -> Iterator[Slab]:
    import torch

    from medseg.inference.decision import slabs

    nearest = scores.decision.nearest_axis(scores.grid, grid)
    with torch.no_grad():
        for rows, slab in slabs(data, scores.grid, grid, nearest):
            found = told(slab).float().clamp_(min=0).cpu().numpy()
            part = grid.cropped((rows.start, 0, 0), (rows.stop, *grid.shape[1:]))
            found = found * inside_of(part, scores.grid)
            yield rows, np.asarray(found, np.float32)
