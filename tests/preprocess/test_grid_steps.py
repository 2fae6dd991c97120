"""Steps that change the grid: voxels keep their place in the patient, as MONAI has it too."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.volumes import volumes, where_it_lies

from medseg.errors import StudyError
from medseg.image import Grid, Volume
from medseg.image.resampling import resample
from medseg.preprocess import CropForeground, Orientation, Spacing

ORDERS = ["".join(codes) for pairs in permutations(("LR", "PA", "IS")) for codes in product(*pairs)]
TILTED = np.array(
    [[-0.7, 0.05, 0.3, 40], [0.04, -0.69, 0.1, 55], [0.1, -0.05, 2.9, -70], [0, 0, 0, 1]]
)
laws = settings(max_examples=25, deadline=None)


def noise(shape: tuple[int, int, int], affine: np.ndarray = TILTED, channels: int = 2) -> Volume:
    data = np.random.default_rng(3).normal(0, 100, (channels, *shape))
    return Volume(data.astype(np.float32), Grid(affine, shape))


def as_monai(volume: Volume) -> object:
    from monai.data import MetaTensor

    return MetaTensor(volume.data.copy(), affine=volume.grid.affine.copy())


@laws
@given(volumes(), st.sampled_from(ORDERS))
def test_turning_there_and_back_changes_nothing(volume: Volume, codes: str) -> None:
    turned = Orientation(axcodes=codes)(volume)
    assert turned.grid.axcodes == codes
    back = Orientation(axcodes=volume.grid.axcodes)(turned)
    assert np.array_equal(back.data, volume.data)
    assert back.grid.near(volume.grid, 1e-9)


@pytest.mark.parametrize("codes", ORDERS)
def test_orientation_is_monais_voxel_for_voxel(codes: str) -> None:
    from monai.transforms import Orientation as Monai

    volume = noise((5, 4, 3))
    axes = (("L", "R"), ("P", "A"), ("I", "S"))
    theirs = Monai(axcodes=codes, labels=axes)(as_monai(volume))
    mine = Orientation(axcodes=codes)(volume)
    assert np.array_equal(mine.data, theirs.numpy())
    assert np.allclose(mine.grid.affine, theirs.affine.numpy(), atol=1e-9)
    assert np.shares_memory(mine.data, volume.data)  # a large scan is not copied for this


@pytest.mark.parametrize("codes", ["RAX", "RA", "RASI", "RRS", "RLS", "ras", ""])
def test_codes_that_name_an_axis_twice_or_not_at_all_are_refused(codes: str) -> None:
    with pytest.raises(ValueError, match="axcodes name each"):
        Orientation(axcodes=codes)


@laws
@given(volumes(), st.tuples(*[st.floats(0.5, 6)] * 3))
def test_spacing_gives_the_size_asked_for_about_the_same_centre(
    volume: Volume, pixdim: tuple[float, float, float]
) -> None:
    spaced = Spacing(pixdim=pixdim)(volume)
    assert np.allclose(spaced.grid.spacing_mm, pixdim)
    before, after = (
        grid.world((np.array(grid.shape) - 1) / 2) for grid in (volume.grid, spaced.grid)
    )
    assert np.allclose(before, after, atol=1e-9)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_what_lies_at_a_place_lies_there_after_resampling(mode: str) -> None:
    grid = Grid(TILTED, (14, 13, 12))
    spaced = Spacing(pixdim=(0.9, 0.5, 1.7), mode=mode)(where_it_lies(grid))  # type: ignore[arg-type]
    inner = (slice(None), *(slice(side // 3, side - side // 3) for side in spaced.grid.shape))
    # A spline rings a little where a ramp ends at the border.
    limit = 1e-4 if mode == "linear" else 0.02
    assert np.allclose(spaced.data[inner], where_it_lies(spaced.grid).data[inner], atol=limit)


@pytest.mark.parametrize("pixdim", [(1.0, 1.5, 2.0), (3.0, 3.0, 6.0), (0.5, 0.75, 1.0)])
def test_spacing_is_monais_where_the_definitions_coincide(
    pixdim: tuple[float, float, float],
) -> None:
    """The field of view is a whole number of new voxels, and MONAI is told to keep it."""
    from monai.transforms import Spacing as Monai

    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[:3, 3] = (7, -4, 2)
    volume = noise((12, 10, 9), affine)
    scaler = Monai(pixdim=pixdim, mode="bilinear", padding_mode="border", scale_extent=True)
    theirs = scaler(as_monai(volume))
    mine = Spacing(pixdim=pixdim)(volume)
    assert mine.grid.shape == tuple(theirs.shape[1:])
    assert np.allclose(mine.grid.affine, theirs.affine.numpy(), atol=1e-6)
    assert np.allclose(mine.data, theirs.numpy(), atol=2e-3)


def test_a_side_of_null_is_kept() -> None:
    volume = noise((6, 5, 4))
    spaced = Spacing(pixdim=(None, 2.0, None))(volume)
    kept = volume.grid.spacing_mm
    assert np.allclose(spaced.grid.spacing_mm, (kept[0], 2.0, kept[2]))
    assert Spacing(pixdim=(None, None, None))(volume).grid.near(volume.grid, 1e-9)


def test_nearest_makes_no_new_intensities() -> None:
    volume = noise((6, 5, 4))
    spaced = Spacing(pixdim=(0.3, 1.1, 2.0), mode="nearest")(volume)
    assert np.isin(spaced.data, volume.data).all()


@pytest.mark.parametrize("side", [0.0, -1.0, 1000.0, float("nan")])
def test_a_voxel_size_that_cannot_be_is_refused(side: float) -> None:
    with pytest.raises(ValueError, match="pixdim is three lengths"):
        Spacing(pixdim=(1.0, side, 1.0))


@laws
@given(
    volumes(),
    st.floats(-1e6, 1e6) | st.just(0.0),
    st.integers(0, 3),
    st.none() | st.just((0,)),
)
def test_cropping_keeps_all_above_the_threshold_and_its_place(
    volume: Volume, threshold: float, margin: int, channels: tuple[int, ...] | None
) -> None:
    cropped = CropForeground(threshold=threshold, margin=margin, channels=channels)(volume)
    looked = volume.data if channels is None else volume.data[list(channels)]
    kept = cropped.data if channels is None else cropped.data[list(channels)]
    assert (kept > threshold).sum() == (looked > threshold).sum()
    assert np.array_equal(resample(volume, cropped.grid).data, cropped.data)
    above = np.argwhere((looked > threshold).any(0))
    if len(above):
        span = above.max(0) - above.min(0) + 1
        assert (np.array(cropped.grid.shape) <= span + 2 * margin).all()
        assert (np.array(cropped.grid.shape) >= span).all()
    else:
        assert cropped is volume


@pytest.mark.parametrize(("threshold", "margin"), [(0.0, 0), (150.0, 0), (220.0, 2)])
@pytest.mark.parametrize("channels", [None, (1,)])
def test_cropping_is_monais_voxel_for_voxel(
    threshold: float, margin: int, channels: tuple[int, ...] | None
) -> None:
    from monai.transforms import CropForeground as Monai

    volume = noise((9, 8, 7))
    theirs = Monai(
        select_fn=lambda image: image > threshold,
        channel_indices=channels,
        margin=margin,
        allow_smaller=True,
    )(as_monai(volume))
    mine = CropForeground(threshold=threshold, margin=margin, channels=channels)(volume)
    assert np.array_equal(mine.data, theirs.numpy())
    assert np.allclose(mine.grid.affine, theirs.affine.numpy(), atol=1e-9)


def test_cropping_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="margin is 0 voxels or more, not -1"):
        CropForeground(margin=-1)
    for channels in ((), (-1,), (0, 0)):
        with pytest.raises(ValueError, match="channels count from 0"):
            CropForeground(channels=channels)


def test_looking_at_a_channel_that_is_not_there_is_told() -> None:
    with pytest.raises(StudyError, match="no channel 2: the scan has 2") as caught:
        CropForeground(channels=(0, 2))(noise((4, 4, 4)))
    assert caught.value.code == "E_NDIM"
