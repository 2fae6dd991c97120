"""Steps that change intensities and leave the grid: MONAI's transforms under their own words.

They follow MONAI's rules and not its code: these are a few lines of numpy that need neither
torch nor copies of the scan, and never write to the scan they were given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, Volume
from medseg.preprocess.channels import check_channels, chosen_channels, finite
from medseg.step import Step

Image = NDArray[np.float32]
_CHUNK = 1 << 20  # voxels that are calculated with in float64 at a time


@dataclass(frozen=True, kw_only=True)
class _Intensity(Step, ABC):
    """``channels`` says which are changed, counted from 0 (None: every one)."""

    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_channels(self.channels)

    @property
    def _together(self) -> bool:
        """Whether the channels are changed as one image, not each on its own."""
        return False

    def grid_of(self, grid: Grid) -> Grid:
        """The grid of what a volume on ``grid`` becomes: the same."""
        return grid

    @abstractmethod
    def _change(self, part: Image) -> None:
        """Give ``part``, a channel (X, Y, Z) or several (C, X, Y, Z), other intensities."""

    def __call__(self, volume: Volume) -> Volume:
        """The volume with other intensities, on its grid."""
        channels = chosen_channels(volume, self.channels)
        data = np.array(volume.data, order="C")
        with np.errstate(over="ignore", invalid="ignore"):
            if self._together and self.channels is None:
                self._change(data)
            elif self._together:
                part = data[list(channels)]
                self._change(part)
                data[list(channels)] = part
            else:
                for channel in channels:
                    self._change(data[channel])
        return Volume(finite(data, type(self)), volume.grid)


def _rising(low: float, high: float, name: str) -> None:
    if not low < high:
        raise ValueError(f"{name} rise, not {low} to {high}")


def _percentiles(*shares: float | None) -> None:
    given = [share for share in shares if share is not None]
    if not all(0 <= share <= 100 for share in given):
        raise ValueError(f"percentiles lie in 0..100, not {given}")
    if len(given) == 2:
        _rising(given[0], given[1], "percentiles")


def _percentile(part: Image, share: float) -> float:
    return float(np.percentile(part, share))


@dataclass(frozen=True, kw_only=True)
class ScaleIntensityRange(_Intensity):
    """Map ``a_min``..``a_max`` to ``b_min``..``b_max``; ``clip`` cuts what lies beyond.

    ``channels``, counted from 0, are those that are changed; null is every one.
    """

    a_min: float
    a_max: float
    b_min: float = 0.0
    b_max: float = 1.0
    clip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _rising(self.a_min, self.a_max, "a_min and a_max")
        _rising(self.b_min, self.b_max, "b_min and b_max")

    def _change(self, part: Image) -> None:
        _mapped(part, (self.a_min, self.a_max), (self.b_min, self.b_max), self.clip)


def _mapped(part: Image, old: tuple[float, float], new: tuple[float, float], clip: bool) -> None:
    part -= old[0]
    if old[0] < old[1]:
        part /= old[1] - old[0]
        part *= new[1] - new[0]
    part += new[0]
    if clip:
        np.clip(part, *new, out=part)


@dataclass(frozen=True, kw_only=True)
class ScaleIntensityRangePercentiles(_Intensity):
    """Map the ``lower`` and ``upper`` percentile to ``b_min`` and ``b_max``.

    ``relative`` maps them to the same percentiles of ``b_min``..``b_max``. ``channel_wise``
    takes each channel's own. Where both are one intensity, that becomes ``b_min`` and nothing
    is stretched. ``channels``, counted from 0, are those that are changed; null is every one.
    """

    lower: float
    upper: float
    b_min: float = 0.0
    b_max: float = 1.0
    clip: bool = False
    relative: bool = False
    channel_wise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lower < self.upper <= 100:
            raise ValueError(f"lower and upper rise in 0..100, not {self.lower} to {self.upper}")
        _rising(self.b_min, self.b_max, "b_min and b_max")

    @property
    def _together(self) -> bool:
        return not self.channel_wise

    def _change(self, part: Image) -> None:
        low, high = np.percentile(part, [self.lower, self.upper]).tolist()
        new = (self.b_min, self.b_max)
        if self.relative:
            span = self.b_max - self.b_min
            new = (self.b_min + span * self.lower / 100, self.b_min + span * self.upper / 100)
        _mapped(part, (low, high), new, self.clip)


@dataclass(frozen=True, kw_only=True)
class NormalizeIntensity(_Intensity):
    """Subtract the mean and divide by the standard deviation, or by the numbers given.

    ``nonzero`` looks at and changes voxels other than 0 only. ``channel_wise`` takes each
    channel's own numbers. A channel without deviation becomes 0. ``channels``, counted from 0,
    are those that are changed; null is every one.
    """

    subtrahend: float | None = None
    divisor: float | None = None
    nonzero: bool = False
    channel_wise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divisor is not None and self.divisor <= 0:
            raise ValueError(f"divisor is above 0, not {self.divisor}")

    @property
    def _together(self) -> bool:
        return not self.channel_wise

    def _change(self, part: Image) -> None:
        if not self.nonzero:
            self._normalise(part.reshape(-1))
        elif (chosen := part != 0).any():
            values = part[chosen]
            self._normalise(values)
            part[chosen] = values

    def _normalise(self, values: Image) -> None:
        standardised(values, self.subtrahend, self.divisor)


def standardised(
    values: Image, subtrahend: float | None = None, divisor: float | None = None
) -> Image:
    """``values (N,)`` themselves, less a number and divided by one: their own where not given."""
    mean, deviation = _moments(values)
    by = deviation if divisor is None else divisor
    for piece in _pieces(values):
        less = piece.astype(np.float64) - (mean if subtrahend is None else subtrahend)
        piece[...] = less / (by or 1.0)
    return values


def _pieces(values: Image) -> Iterator[Image]:
    for start in range(0, values.size, _CHUNK):
        yield values[start : start + _CHUNK]


def _moments(values: Image) -> tuple[float, float]:
    """Mean and standard deviation, in float64: intensities may run into the millions."""
    if values.min() == values.max():
        # What rounding leaves of a mean would look like a deviation.
        return float(values[0]), 0.0
    mean = float(values.mean(dtype=np.float64))
    squares = 0.0
    for piece in _pieces(values):
        one = piece.astype(np.float64) - mean
        squares += float(one @ one)
    return mean, float(np.sqrt(squares / values.size))


@dataclass(frozen=True, kw_only=True)
class Clip(_Intensity):
    """Cut intensities below ``minimum`` and above ``maximum``, or at percentiles of a channel.

    ``channels``, counted from 0, are those that are changed; null is every one.
    """

    minimum: float | None = None
    maximum: float | None = None
    lower_percentile: float | None = None
    upper_percentile: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum is not None and self.lower_percentile is not None:
            raise ValueError("minimum and lower_percentile say the same thing twice")
        if self.maximum is not None and self.upper_percentile is not None:
            raise ValueError("maximum and upper_percentile say the same thing twice")
        low = self.lower_percentile if self.minimum is None else self.minimum
        high = self.upper_percentile if self.maximum is None else self.maximum
        if low is None and high is None:
            raise ValueError("clip needs a minimum or a maximum, as number or as percentile")
        if self.minimum is not None and self.maximum is not None:
            _rising(self.minimum, self.maximum, "minimum and maximum")
        _percentiles(self.lower_percentile, self.upper_percentile)

    def _change(self, part: Image) -> None:
        low, high = self.minimum, self.maximum
        if self.lower_percentile is not None:
            low = _percentile(part, self.lower_percentile)
        if self.upper_percentile is not None:
            high = _percentile(part, self.upper_percentile)
        np.clip(part, low, high, out=part)
