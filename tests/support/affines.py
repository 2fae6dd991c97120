"""Affines for laws: all 48 storage orders, oblique or not, voxels from fine to coarse."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

ORDERS = tuple(
    np.eye(3)[list(axes)].T * np.array(signs)
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """An affine (4, 4) without shear."""
    turn = draw(st.sampled_from(ORDERS))
    angles = draw(st.tuples(*[st.floats(-40, 40)] * 3) | st.just((0.0, 0.0, 0.0)))
    spacing = draw(st.tuples(*[st.floats(0.3, 10)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ turn * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return affine


shapes = st.tuples(*[st.integers(1, 9)] * 3)
