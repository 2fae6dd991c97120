"""Volumes for laws: odd shapes, one channel or more, zeros and repeated intensities among them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from support.affines import affines, shapes

from medseg.image import Grid, Volume


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """A volume on any grid, of counts or of noise, with a corner that holds 0."""
    shape = draw(shapes)
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (draw(st.integers(1, 3)), *shape)
    scale, offset = draw(st.sampled_from([(1, 0), (300, -200), (9e4, 4e5)]))
    data = chance.normal(offset, scale, size)
    if draw(st.booleans()):
        data = np.round(data / scale * 2) * scale
    data[:, : shape[0] // 3] = 0
    return Volume(data.astype(np.float32), Grid(draw(affines()), shape))


def where_it_lies(grid: Grid) -> Volume:
    """Three channels that hold each voxel's world x, y and z in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    return Volume(np.moveaxis(grid.world(index), -1, 0).astype(np.float32).copy(), grid)
