"""Steps that other projects' rules need: order of axes, edges, MONAI's first voxel, masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Spacing as MonaiSpacing
from scipy.ndimage import binary_fill_holes

from medseg.image import Grid, Volume
from medseg.image.coarse import CoarseAxis
from medseg.preprocess import CropForeground, NormalizeForeground, Spacing, Transpose

sides = st.integers(2, 12)


def volume(shape: tuple[int, int, int], spacing: tuple[float, ...] = (1, 2, 0.7)) -> Volume:
    data = np.random.default_rng(4).normal(size=(2, *shape)).astype(np.float32)
    return Volume(data, Grid(np.diag([*spacing, 1.0]), shape))


def test_transposing_twice_changes_nothing() -> None:
    scan = volume((3, 4, 5))
    again = Transpose((1, 2, 0))(Transpose((2, 0, 1))(scan))
    assert np.array_equal(again.data, scan.data)
    assert again.grid == scan.grid


@pytest.mark.parametrize("indices", [(0, 0, 1), (1, 2, 2)])
def test_every_axis_goes_somewhere(indices: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="indices"):
        Transpose(indices)  # type: ignore[arg-type]


@given(st.tuples(sides, sides, sides), st.tuples(*[st.floats(0.4, 3)] * 3))
@settings(deadline=None, max_examples=30)
def test_edges_stay_where_they_are(
    shape: tuple[int, int, int], pixdim: tuple[float, float, float]
) -> None:
    scan = volume(shape)
    made = Spacing(pixdim, align="edges")(scan).grid
    assert np.allclose(made.world((-0.5,) * 3), scan.grid.world((-0.5,) * 3))
    far = np.asarray(made.shape) - 0.5
    assert np.allclose(made.world(far), scan.grid.world(np.asarray(shape) - 0.5))
    wanted = [max(1, round(s / p * n)) for s, p, n in zip((1, 2, 0.7), pixdim, shape, strict=True)]
    assert list(made.shape) == wanted


@given(st.tuples(sides, sides, sides), st.tuples(*[st.floats(0.4, 3)] * 3))
@settings(deadline=None, max_examples=30)
def test_from_the_first_voxel_on_it_is_monais_spacing(
    shape: tuple[int, int, int], pixdim: tuple[float, float, float]
) -> None:
    scan = volume(shape)
    # MONAI takes spacings that are nearly the scan's for the scan's own.
    assume(all(abs(p - s) > 0.01 for p, s in zip(pixdim, scan.grid.spacing_mm, strict=True)))
    made = Spacing(pixdim, align="first")(scan)
    theirs = MonaiSpacing(pixdim, mode="bilinear", padding_mode="border")(
        MetaTensor(scan.data, affine=scan.grid.affine.copy())
    )
    assert made.data.shape == tuple(theirs.shape)
    assert np.allclose(made.grid.affine, theirs.affine)
    assert np.allclose(made.data, theirs.numpy(), atol=1e-3)


def test_thick_slices_stay_themselves() -> None:
    scan = volume((6, 5, 3), (1, 1, 4))
    made = Spacing((1, 1, 1), "cubic", "edges", CoarseAxis())(scan)
    assert made.grid.shape == (6, 5, 12)
    assert np.allclose(made.data, scan.data.repeat(4, axis=3), atol=1e-5)


def test_negative_voxels_are_no_background_either() -> None:
    scan = volume((5, 5, 5), (1, 1, 1))
    data = np.zeros_like(scan.data)
    data[1, 2, 3, 1] = -4
    found = CropForeground(nonzero=True)(Volume(data, scan.grid))
    assert found.grid.shape == (1, 1, 1)
    assert CropForeground()(Volume(data, scan.grid)).grid == scan.grid
    with pytest.raises(ValueError, match="threshold"):
        CropForeground(threshold=1, nonzero=True)


def test_the_foreground_has_mean_0_and_deviation_1_and_holes_belong_to_it() -> None:
    scan = volume((8, 8, 8))
    data = scan.data * 20 + 100
    data[:, :2], data[:, 4, 4, 4] = 0, 0
    found = NormalizeForeground(channels=(0,))(Volume(data.copy(), scan.grid)).data
    inside = binary_fill_holes((data != 0).any(0))
    assert inside[4, 4, 4]
    assert not found[0][~inside].any()
    assert found[0][inside].mean() == pytest.approx(0, abs=1e-5)
    assert found[0][inside].std() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(found[1], data[1])


def test_where_there_is_no_foreground_nothing_changes() -> None:
    empty = Volume(np.zeros((1, 3, 3, 3), np.float32), Grid(np.eye(4), (3, 3, 3)))
    assert not NormalizeForeground()(empty).data.any()
