"""A packed array is the array, wherever it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.training.packed import Packed, packed


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(1, 70), min_size=3, max_size=3),
    st.sampled_from(["<f4", "<f2", "u1", "<u2"]),
    st.integers(0, 2),
    st.data(),
)
def test_any_cut_is_what_the_array_has_there(
    tmp_path: Path, sides: list[int], kind: str, channels: int, data: st.DataObject
) -> None:
    shape = (channels, *sides) if channels else tuple(sides)
    chance = np.random.default_rng(sum(sides))
    whole = (100 * chance.normal(size=shape)).astype(np.int8).astype(kind)
    path = tmp_path / "packed"
    path.write_bytes(packed(whole))
    found = Packed(path)
    assert (found.shape, found.dtype, found.ndim) == (whole.shape, whole.dtype, whole.ndim)
    cut = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape
    )
    np.testing.assert_array_equal(found[cut], whole[cut])
    np.testing.assert_array_equal(found[tuple(slice(None) for _ in shape)], whole)


def test_a_smooth_image_is_smaller_packed(tmp_path: Path) -> None:
    axes = np.linspace(0, 3, 64, dtype=np.float32)
    smooth = np.sin(axes[:, None, None]) * np.cos(axes[:, None]) * axes
    outside = np.where(smooth > 0.3, smooth, 0)[None]
    assert len(packed(outside)) < 0.7 * outside.nbytes


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"something else, and long enough to have a head")
    with pytest.raises(ValueError, match="no packed array"):
        Packed(path)
