"""Steps that change intensities: MONAI's numbers, of its own transforms, to a millionth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.volumes import volumes

from medseg.errors import StudyError
from medseg.image import Grid, Study, Volume
from medseg.io import ReadOptions, read_scan
from medseg.preprocess import (
    Clip,
    NormalizeIntensity,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)

laws = settings(max_examples=25, deadline=None)
NORMAL = [(nonzero, wise) for nonzero in (False, True) for wise in (False, True)]
RANGES = {"lower": 2, "upper": 97.5, "b_min": -1.0, "b_max": 3.0}


def volume_of(data: Any) -> Volume:
    array = np.asarray(data, dtype=np.float32)
    return Volume(array, Grid(np.eye(4), array.shape[1:]))


def noise(channels: int = 2) -> Volume:
    data = np.random.default_rng(5).normal(40, 200, (channels, 9, 8, 7))
    data[:, :3] = 0
    data[1:] *= 7
    return volume_of(data)


def monai(name: str, volume: Volume, *args: Any, **options: Any) -> np.ndarray:
    """What MONAI's transform of that name makes of a copy."""
    import monai.transforms

    made = getattr(monai.transforms, name)(*args, **options)(volume.data.copy())
    return np.asarray(made)


def alike(mine: Volume, theirs: np.ndarray) -> bool:
    """Equal to 1e-6 of the largest number there."""
    return np.allclose(mine.data, theirs, rtol=0, atol=1e-6 * max(1.0, float(np.abs(theirs).max())))


STEPS = {
    "range": ScaleIntensityRange(a_min=-100, a_max=250, clip=True),
    "percentiles": ScaleIntensityRangePercentiles(lower=1, upper=99),
    "percentiles together": ScaleIntensityRangePercentiles(lower=1, upper=99, channel_wise=False),
    "normal": NormalizeIntensity(),
    "normal nonzero": NormalizeIntensity(nonzero=True),
    "normal together": NormalizeIntensity(channel_wise=False),
    "clip": Clip(minimum=-50, maximum=50),
    "clip by percentiles": Clip(lower_percentile=5, upper_percentile=95),
}


@pytest.mark.parametrize("name", STEPS)
@laws
@given(volume=volumes())
def test_intensities_stay_finite_float32_on_their_grid(name: str, volume: Volume) -> None:
    before = volume.data.copy()
    changed = STEPS[name](volume)
    assert changed.data.dtype == np.float32
    assert changed.data.flags.c_contiguous
    assert np.isfinite(changed.data).all()
    assert changed.grid is volume.grid
    assert np.array_equal(volume.data, before)


@pytest.mark.parametrize("name", STEPS)
@laws
@given(volume=volumes())
def test_only_chosen_channels_change(name: str, volume: Volume) -> None:
    last = volume.channels - 1
    options = {f: getattr(STEPS[name], f) for f in STEPS[name].__dataclass_fields__}
    chosen = type(STEPS[name])(**{**options, "channels": (last,)})
    changed = chosen(volume)
    alone = STEPS[name](Volume(volume.data[last:].copy(), volume.grid))
    assert np.array_equal(changed.data[last], alone.data[0])
    assert np.array_equal(changed.data[:last], volume.data[:last])


def test_chosen_channels_may_be_normalised_together() -> None:
    volume = noise(3)
    changed = NormalizeIntensity(channels=(2, 0), channel_wise=False)(volume)
    together = NormalizeIntensity(channel_wise=False)(volume_of(volume.data[[2, 0]]))
    assert np.array_equal(changed.data[[2, 0]], together.data)
    assert np.array_equal(changed.data[1], volume.data[1])


@laws
@given(volumes(), st.booleans())
def test_a_range_is_mapped_as_by_monai(volume: Volume, clip: bool) -> None:
    step = ScaleIntensityRange(a_min=-120, a_max=310, b_min=-1, b_max=2, clip=clip)
    assert alike(step(volume), monai("ScaleIntensityRange", volume, -120, 310, -1, 2, clip))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("wise", [False, True])
def test_percentiles_are_mapped_as_by_monai(clip: bool, relative: bool, wise: bool) -> None:
    volume = noise()
    options = {**RANGES, "clip": clip, "relative": relative, "channel_wise": wise}
    theirs = monai("ScaleIntensityRangePercentiles", volume, **options)
    assert alike(ScaleIntensityRangePercentiles(**options)(volume), theirs)


@pytest.mark.parametrize("data", [np.full((1, 4, 4, 4), 7), np.eye(8).reshape(1, 4, 4, 4) * 50])
@pytest.mark.filterwarnings("ignore:Divide by zero")
def test_percentiles_that_are_equal_shift_as_by_monai(data: np.ndarray) -> None:
    volume = volume_of(data)
    step = ScaleIntensityRangePercentiles(lower=1, upper=80, b_min=-3, b_max=9)
    theirs = monai("ScaleIntensityRangePercentiles", volume, 1, 80, -3, 9)
    assert np.array_equal(step(volume).data, theirs)
    assert step(volume).data.min() == -3


@pytest.mark.parametrize(("nonzero", "wise"), NORMAL)
@laws
@given(volume=volumes())
def test_normal_intensities_are_monais(nonzero: bool, wise: bool, volume: Volume) -> None:
    # Where all voxels are one, MONAI leaves what rounding does to the mean.
    parts = volume.data if wise else [volume.data]
    assume(all(len(np.unique(part[part != 0] if nonzero else part)) != 1 for part in parts))
    # MONAI takes means in float32, which tells where intensities are large.
    exact = Volume((volume.data / 1000).astype(np.float32), volume.grid)
    theirs = monai("NormalizeIntensity", exact, nonzero=nonzero, channel_wise=wise)
    mine = NormalizeIntensity(nonzero=nonzero, channel_wise=wise)(exact)
    assert np.allclose(mine.data, theirs, rtol=0, atol=5e-4)


@pytest.mark.parametrize(("nonzero", "wise"), NORMAL)
def test_normal_intensities_are_monais_to_a_millionth(nonzero: bool, wise: bool) -> None:
    volume = noise()
    theirs = monai("NormalizeIntensity", volume, nonzero=nonzero, channel_wise=wise)
    assert alike(NormalizeIntensity(nonzero=nonzero, channel_wise=wise)(volume), theirs)


def test_given_numbers_are_subtracted_and_divided_by_as_by_monai() -> None:
    volume = noise()
    theirs = monai("NormalizeIntensity", volume, subtrahend=40.0, divisor=8.0)
    assert alike(NormalizeIntensity(subtrahend=40, divisor=8)(volume), theirs)
    half = NormalizeIntensity(divisor=8, channel_wise=False)(volume)
    assert alike(half, monai("NormalizeIntensity", volume, divisor=8.0))


@laws
@given(volumes(), st.booleans())
def test_normal_intensities_have_mean_0_and_deviation_1_or_0(volume: Volume, nonzero: bool) -> None:
    for before, after in zip(
        volume.data, NormalizeIntensity(nonzero=nonzero)(volume).data, strict=True
    ):
        looked = before != 0 if nonzero else np.ones(before.shape, bool)
        assert (after[~looked] == 0).all()
        if looked.any():
            values = after[looked].astype(np.float64)
            assert abs(values.mean()) < 1e-4
            constant = before[looked].min() == before[looked].max()
            assert abs(values.std() - (0 if constant else 1)) < 1e-4


@pytest.mark.parametrize("value", [0.1, 1000.1, 1.7e6, -3.3, 0.0])
def test_a_constant_scan_becomes_0_and_nothing_else(value: float) -> None:
    normal = NormalizeIntensity()(volume_of(np.full((1, 13, 11, 7), value)))
    assert not normal.data.any()
    together = NormalizeIntensity(channel_wise=False, nonzero=True)
    assert not together(volume_of(np.full((2, 3, 3, 3), value))).data.any()


def test_large_intensities_keep_their_digits() -> None:
    """A hippocampus scan of the Decathlon runs to 1.7 million."""
    data = np.random.default_rng(0).normal(1.7e6, 4, (1, 40, 40, 40)).astype(np.float32)
    exact = (data - data.mean(dtype=np.float64)) / data.std(dtype=np.float64)
    assert np.allclose(NormalizeIntensity()(volume_of(data)).data, exact, rtol=0, atol=1e-6)


def test_pieces_of_a_large_scan_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NormalizeIntensity()(noise())
    monkeypatch.setattr("medseg.preprocess.intensity._CHUNK", 50)
    assert np.allclose(NormalizeIntensity()(noise()).data, whole.data, rtol=0, atol=1e-6)


@laws
@given(volumes(), st.floats(0, 40), st.floats(60, 100))
def test_clipping_at_percentiles_is_monais(volume: Volume, lower: float, upper: float) -> None:
    step = Clip(lower_percentile=lower, upper_percentile=upper)
    theirs = monai("ClipIntensityPercentiles", volume, lower, upper, channel_wise=True)
    # MONAI finds the place between two voxels in single precision, which is off by their number.
    off = volume.data[0].size * np.finfo(np.float32).eps * float(np.ptp(volume.data))
    mine = step(volume).data
    assert np.allclose(mine, theirs, rtol=0, atol=off + 1e-6 * max(1.0, float(abs(theirs).max())))


def test_clipping_takes_a_number_on_one_side_and_a_percentile_on_the_other() -> None:
    volume = noise(1)
    clipped = Clip(minimum=-30, upper_percentile=90)(volume).data
    assert clipped.min() == -30
    assert np.isclose(clipped.max(), np.percentile(volume.data, 90))
    assert Clip(maximum=5)(volume).data.min() == volume.data.min()
    assert Clip(maximum=5)(volume).data.max() == 5


REFUSED = [
    (lambda: ScaleIntensityRange(a_min=5, a_max=5), "a_min and a_max rise, not 5 to 5"),
    (lambda: ScaleIntensityRange(a_min=0, a_max=1, b_min=1, b_max=0), "b_min and b_max rise"),
    (lambda: ScaleIntensityRangePercentiles(lower=-1, upper=99), "rise in 0..100, not -1 to 99"),
    (lambda: ScaleIntensityRangePercentiles(lower=99, upper=1), "rise in 0..100, not 99 to 1"),
    (lambda: ScaleIntensityRangePercentiles(lower=1, upper=2, b_max=0), "b_min and b_max rise"),
    (lambda: NormalizeIntensity(divisor=0), "divisor is above 0, not 0"),
    (lambda: NormalizeIntensity(channels=(-1,)), "channels count from 0"),
    (Clip, "needs a minimum or a maximum"),
    (lambda: Clip(minimum=1, lower_percentile=2), "minimum and lower_percentile"),
    (lambda: Clip(maximum=1, upper_percentile=2), "maximum and upper_percentile"),
    (lambda: Clip(minimum=2, maximum=1), "minimum and maximum rise, not 2 to 1"),
    (lambda: Clip(lower_percentile=9, upper_percentile=1), "percentiles rise, not 9 to 1"),
    (lambda: Clip(upper_percentile=101), r"percentiles lie in 0..100, not \[101\]"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_options_that_cannot_be_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_channel_that_is_not_there_is_told() -> None:
    with pytest.raises(StudyError, match="no channel 3: the scan has 2, counted from 0") as caught:
        Clip(minimum=0, channels=(3,))(noise())
    assert caught.value.code == "E_NDIM"


def test_numbers_too_large_for_float32_are_told_and_not_passed_on() -> None:
    with pytest.raises(StudyError, match="scale_intensity_range made intensities") as caught:
        ScaleIntensityRange(a_min=0, a_max=1e-9, b_max=1e30)(noise())
    assert caught.value.code == "E_NONFINITE"


@pytest.mark.real
def test_real_scans_come_out_as_by_monai(real_data: Path) -> None:
    """T1 MRI of arbitrary units: the intensities of training and of every prediction."""
    paths = sorted((real_data / "hippocampus" / "imagesTr").glob("*.nii*"))[:8]
    assert paths
    for path in paths:
        volume = read_scan(Study(path.name, (path,)), ReadOptions()).volume
        assert alike(NormalizeIntensity()(volume), monai("NormalizeIntensity", volume))
        scaler = ScaleIntensityRangePercentiles(lower=0.5, upper=99.5, clip=True)
        theirs = monai("ScaleIntensityRangePercentiles", volume, 0.5, 99.5, 0, 1, clip=True)
        assert alike(scaler(volume), theirs)
