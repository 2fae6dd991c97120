"""Masks for laws and phantoms: exclusive labels, and regions within regions."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.affines import affines

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.image.resampling import resample_labels

ORGANS = Labels((Label("a", (1,)), Label("b", (2,)), Label("c", (5,))))
TUMOUR = Labels((Label("whole", (1, 2, 4)), Label("core", (1, 4)), Label("enhancing", (4,))))
ORDERS = ["".join(codes) for pairs in permutations(("LR", "PA", "IS")) for codes in product(*pairs)]


def mask_of(
    data: Any, labels: Labels = ORGANS, spacing_mm: tuple[float, float, float] = (1, 1, 1)
) -> LabelMap:
    """A mask whose axes are RAS."""
    array = np.asarray(data, dtype=np.uint8)
    return LabelMap(array, Grid(np.diag([*spacing_mm, 1.0]), array.shape), labels)


def turned(mask: LabelMap, codes: str) -> LabelMap:
    """The same mask, stored in another order."""
    return resample_labels(mask, mask.grid.oriented(codes))


@st.composite
def masks(draw: st.DrawFn, labels: Labels = ORGANS, least: int = 1) -> LabelMap:
    """A mask of specks and lumps, with voids in them, on any grid."""
    shape = draw(st.tuples(*[st.integers(least, 9)] * 3))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = [0, *sorted(labels.values)]
    data = chance.choice(values, shape)
    if draw(st.booleans()):
        coarse = chance.choice(values, [-(-side // 2) for side in shape])
        lumps = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(map(slice, shape))]
        data = np.where(chance.random(shape) < 0.85, lumps, 0)
    return LabelMap(data.astype(np.uint8), Grid(draw(affines()), shape), labels)
