"""The ``monai`` step: any deterministic transform, and never a voxel at a wrong place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.volumes import where_it_lies

from medseg.errors import StudyError
from medseg.image import Grid, Volume
from medseg.image.resampling import resample
from medseg.preprocess import Monai
from medseg.preprocess.any_monai import _transforms

TURNED = np.array([[0, -1.2, 0, 5], [1.5, 0, 0, -3], [0, 0, 2.0, 7], [0, 0, 0, 1]])


def noise(shape: tuple[int, int, int] = (9, 8, 7), channels: int = 2) -> Volume:
    data = np.random.default_rng(1).normal(10, 3, (channels, *shape)).astype(np.float32)
    return Volume(data, Grid(TURNED, shape))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GaussianSmooth", {"sigma": 1.5}),
        ("ScaleIntensity", {"minv": -1.0, "maxv": 1.0}),
        ("AdjustContrast", {"gamma": 1.7}),
        ("MedianSmooth", {"radius": 1}),
        ("HistogramNormalize", {"num_bins": 64}),
        ("ThresholdIntensity", {"threshold": 9.0, "cval": 2.0}),
        ("ToNumpy", {}),
    ],
)
def test_a_transform_does_what_it_does_in_monai(name: str, options: dict[str, Any]) -> None:
    import monai.transforms

    volume = noise()
    theirs = getattr(monai.transforms, name)(**options)(volume.data.copy())
    mine = Monai(name, options)(volume)
    assert np.array_equal(mine.data, np.asarray(theirs, dtype=np.float32))
    assert mine.grid is volume.grid
    assert mine.data.dtype == np.float32
    assert mine.data.flags.c_contiguous


def test_a_transform_that_writes_to_its_input_does_not_change_the_scan() -> None:
    """MONAI's NormalizeIntensity does so where it is channel-wise."""
    volume = noise()
    before = volume.data.copy()
    assert not np.array_equal(
        Monai("NormalizeIntensity", {"channel_wise": True})(volume).data, before
    )
    assert np.array_equal(volume.data, before)


MOVES = {
    "BorderPad": {"spatial_border": 2, "mode": "edge"},
    "CenterScaleCrop": {"roi_scale": 0.5},
    "CenterSpatialCrop": {"roi_size": [4, 5, 4]},
    "DivisiblePad": {"k": 5},
    "ResizeWithPadOrCrop": {"spatial_size": [6, 14, 9]},
    "SpatialCrop": {"roi_start": [1, 2, 3], "roi_end": [5, 6, 7]},
    "SpatialPad": {"spatial_size": [9, 12, 10], "method": "end"},
    "Flip": {"spatial_axis": 0},
    "Rotate90": {"k": 1, "spatial_axes": [0, 2]},
    "Rotate": {"angle": [0.1, 0.2, 0.3]},
    "Affine": {"rotate_params": [0.1, 0.2, 0.1], "image_only": True},
    "Zoom": {"zoom": 1.4, "mode": "trilinear"},
    "Resize": {"spatial_size": [20, 16, 11], "mode": "trilinear"},
    "Spacing": {"pixdim": [1, 1, 1]},
}


@pytest.mark.parametrize("shape", [(8, 8, 8), (10, 11, 9)])
@pytest.mark.parametrize("name", MOVES)
def test_voxels_that_move_keep_their_place_in_the_patient(
    name: str, shape: tuple[int, int, int]
) -> None:
    """The scan's intensities are its world positions; so must be those of the result."""
    moved = Monai(name, MOVES[name])(where_it_lies(Grid(TURNED, shape)))
    inner = (slice(None), *(slice(side // 3, side - side // 3) for side in moved.grid.shape))
    assert np.allclose(moved.data[inner], where_it_lies(moved.grid).data[inner], atol=1e-4)


def test_a_mirrored_scan_is_brought_back_by_its_grid() -> None:
    volume = noise()
    flipped = Monai("Flip", {"spatial_axis": [0, 2]})(volume)
    assert not np.array_equal(flipped.data, volume.data)
    assert np.array_equal(resample(flipped, volume.grid).data, volume.data)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GausianSmooth", "did you mean 'GaussianSmooth'?"),
        ("scale_intensity", ""),
        ("RandFlip", ""),
        ("RandGaussianNoise", ""),
        ("ScaleIntensityd", ""),
        ("Compose", ""),
        ("LoadImage", ""),
        ("SaveImage", ""),
        ("Lambda", ""),
        ("TorchVision", ""),
        ("RandTorchVision", ""),
        ("GridDistortion", ""),
        ("Transpose", ""),
        ("__builtins__", ""),
        ("os", ""),
    ],
)
def test_what_is_no_deterministic_array_transform_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="no deterministic array transform") as caught:
        Monai(name)
    assert hint in str(caught.value)


def test_nothing_that_may_be_named_draws_by_lot_or_reaches_out() -> None:
    from monai.transforms import MapTransform, Randomizable

    known = _transforms()
    assert len(known) > 40
    for name, made in known.items():
        assert not name.startswith("Rand"), name
        assert not issubclass(made, MapTransform | Randomizable), name
        assert made.__module__.split(".")[:2] == ["monai", "transforms"], name
        assert made.__module__.split(".")[2] != "io", name


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("GaussianSmooth", {"sigmaa": 1}, "sigmaa"),
        ("ScaleIntensityRange", {"a_min": 1}, "a_max"),
        ("ClipIntensityPercentiles", {"lower": -5, "upper": 9}, "range"),
        ("SpatialCrop", {}, "roi_center"),
    ],
)
def test_arguments_are_held_against_the_signature_before_work_begins(
    name: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} does not take this: .*{says}"):
        Monai(name, options)


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("AddCoordinateChannels", {"spatial_dims": [0, 1, 2, 3]}, "E_CONFIG"),
        ("EnsureChannelFirst", {"channel_dim": "no_channel"}, "E_NDIM"),
        ("SplitDim", {}, "E_CONFIG"),
        ("Affine", {"rotate_params": [0.1, 0, 0]}, "E_CONFIG"),
        ("Flip", {"spatial_axis": 0, "lazy": True}, "E_CONFIG"),
        ("MeanEnsemble", {}, "E_NDIM"),
        ("BoundingRect", {}, "E_NDIM"),
        ("Crop", {}, "E_CONFIG"),
        ("Zoom", {"zoom": 2, "mode": "sharp"}, "E_CONFIG"),
    ],
)
def test_a_transform_that_gives_no_image_with_a_place_is_told(
    name: str, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(StudyError, match=f"monai {name} ") as caught:
        Monai(name, options)(noise())
    assert caught.value.code == code


def test_more_channels_are_welcome() -> None:
    volume = noise()
    more = Monai("RepeatChannel", {"repeats": 2})(volume)
    assert more.data.shape == (4, 9, 8, 7)
    assert more.grid is volume.grid


def test_infinite_intensities_are_told_and_not_passed_on() -> None:
    volume = noise()
    with pytest.raises(StudyError, match="NaN or infinite") as caught:
        Monai("ScaleIntensity", {"minv": None, "maxv": None, "factor": 1e39})(volume)
    assert caught.value.code == "E_NONFINITE"


def test_memory_that_runs_out_is_not_a_mistake_in_the_pipeline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Monai("Identity")

    def greedy(_: object) -> object:
        raise MemoryError

    monkeypatch.setitem(vars(step), "_built", greedy)
    with pytest.raises(MemoryError):
        step(noise())


def test_steps_with_equal_options_are_equal() -> None:
    assert Monai("GaussianSmooth", {"sigma": 1}) == Monai("GaussianSmooth", {"sigma": 1})
    assert Monai("GaussianSmooth", {"sigma": 1}) != Monai("GaussianSmooth", {"sigma": 2})
