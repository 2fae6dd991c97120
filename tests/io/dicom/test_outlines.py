"""Outlines and masks are one and the same, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from medseg.io.dicom.outlines import Ring, filled, outlines

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(MASKS, st.booleans())
def test_a_mask_comes_back_from_its_outlines(mask: NDArray[np.bool_], keyholes: bool) -> None:
    assert np.array_equal(filled(outlines(mask, keyholes), mask.shape), mask)


@given(MASKS)
def test_with_keyholes_no_two_outlines_cover_a_pixel(mask: NDArray[np.bool_]) -> None:
    """So a reader that adds outlines up, and knows no holes, sees the same mask."""
    each = [filled([ring], mask.shape) for ring in outlines(mask)]
    assert np.array_equal(np.sum(each, axis=0) if each else np.zeros(mask.shape), mask)


@given(MASKS)
def test_outlines_enclose_the_area_of_their_pixels(mask: NDArray[np.bool_]) -> None:
    def area(ring: Ring) -> float:
        after = np.roll(ring, -1, axis=0)
        return float((ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]).sum() / 2)

    assert sum(area(ring) for ring in outlines(mask)) == pytest.approx(mask.sum())


@given(
    arrays(
        float,
        st.tuples(st.integers(3, 9), st.just(2)),
        elements=st.floats(-2, 12, allow_subnormal=False).map(lambda x: round(x, 3) + 0.0001),
    )
)
def test_even_odd_is_what_another_program_says_of_simple_outlines(ring: Ring) -> None:
    """Matplotlib's even-odd; its points are inside or outside, none lies on a line."""
    centre = ring.mean(axis=0)
    # In the order of their angle points make an outline that does not cross itself.
    ring = ring[np.argsort(np.arctan2(*(ring - centre).T))]
    grid = np.stack(np.meshgrid(np.arange(11), np.arange(9), indexing="ij"), -1).reshape(-1, 2)
    theirs = Polygon(ring).contains_points(grid).reshape(11, 9)
    ours = filled([ring], (11, 9))
    # Where an outline runs through the very centre of a pixel, either answer is right.
    assert (ours != theirs).sum() <= _on_the_line(ring, grid)


def _on_the_line(ring: Ring, grid: NDArray[np.int64]) -> int:
    first, along = ring[:, None], np.roll(ring, -1, axis=0)[:, None] - ring[:, None]
    length = np.maximum((along**2).sum(-1), 1e-12)
    share = np.clip(((grid[None] - first) * along).sum(-1) / length, 0, 1)
    off = np.sqrt(((first + share[..., None] * along - grid[None]) ** 2).sum(-1)).min(axis=0)
    return int((off < 1e-6).sum())


def test_a_ring_in_a_ring_is_two_outlines_each_with_its_hole() -> None:
    mask = np.zeros((11, 11), bool)
    for size, value in ((0, True), (1, False), (2, True), (4, False)):
        mask[size : 11 - size, size : 11 - size] = value
    assert len(outlines(mask)) == 2
    assert len(outlines(mask, keyholes=False)) == 4
