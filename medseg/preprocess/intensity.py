"""Steps that change intensities and leave the grid: MONAI's transforms under their own words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Volume
from medseg.step import Step


@dataclass(frozen=True, kw_only=True)
class _Intensity(Step, ABC):
    """``channels`` says which are changed, counted from 0 (None: every one)."""

    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.channels is not None and (not self.channels or min(self.channels) < 0):
            raise ValueError(f"channels count from 0, at least one, not {self.channels}")

    @abstractmethod
    def _changed(self, data: NDArray[np.float32]) -> Any:
        """Other intensities for ``data (C, X, Y, Z)``."""

    def __call__(self, volume: Volume) -> Volume:
        """The volume with other intensities, on its grid."""
        if self.channels is None:
            return Volume(_plain(self._changed(volume.data)), volume.grid)
        if max(self.channels) >= volume.channels:
            raise StudyError("E_NDIM", f"channel {max(self.channels)} of {volume.channels}")
        data = volume.data.copy()
        data[list(self.channels)] = _plain(self._changed(volume.data[list(self.channels)]))
        return Volume(data, volume.grid)


def _plain(data: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(data, dtype=np.float32)


def _rising(low: float, high: float, name: str) -> None:
    if not low < high:
        raise ValueError(f"{name} rise, not {low} to {high}")


@dataclass(frozen=True, kw_only=True)
class ScaleIntensityRange(_Intensity):
    """Map ``a_min``..``a_max`` to ``b_min``..``b_max``; ``clip`` cuts what lies beyond."""

    a_min: float
    a_max: float
    b_min: float = 0.0
    b_max: float = 1.0
    clip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _rising(self.a_min, self.a_max, "a_min and a_max")
        _rising(self.b_min, self.b_max, "b_min and b_max")

    def _changed(self, data: NDArray[np.float32]) -> Any:
        from monai.transforms.intensity.array import ScaleIntensityRange as Monai

        return Monai(self.a_min, self.a_max, self.b_min, self.b_max, self.clip)(data)


@dataclass(frozen=True, kw_only=True)
class ScaleIntensityRangePercentiles(_Intensity):
    """Map the ``lower`` and ``upper`` percentile to ``b_min`` and ``b_max``.

    ``channel_wise`` takes each channel's own percentiles. An image of one value becomes
    ``b_min``.
    """

    lower: float
    upper: float
    b_min: float = 0.0
    b_max: float = 1.0
    clip: bool = False
    channel_wise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lower < self.upper <= 100:
            raise ValueError(f"lower and upper rise in 0..100, not {self.lower} to {self.upper}")
        _rising(self.b_min, self.b_max, "b_min and b_max")

    def _changed(self, data: NDArray[np.float32]) -> Any:
        from monai.transforms.intensity.array import ScaleIntensityRange as Monai

        parts = list(data) if self.channel_wise else [data]
        scaled = []
        for part in parts:
            low, high = np.percentile(part, [self.lower, self.upper])
            if low == high:
                scaled.append(np.full_like(part, self.b_min))
                continue
            range_to_range = Monai(low, high, self.b_min, self.b_max, self.clip)
            scaled.append(np.asarray(range_to_range(part)))
        return np.stack(scaled) if self.channel_wise else scaled[0]


@dataclass(frozen=True, kw_only=True)
class NormalizeIntensity(_Intensity):
    """Subtract the mean and divide by the standard deviation, or by the numbers given.

    ``nonzero`` looks at and changes voxels other than 0 only. ``channel_wise`` takes each
    channel's own numbers. A channel without deviation becomes 0.
    """

    subtrahend: float | None = None
    divisor: float | None = None
    nonzero: bool = False
    channel_wise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divisor is not None and self.divisor <= 0:
            raise ValueError(f"divisor is above 0, not {self.divisor}")

    def _changed(self, data: NDArray[np.float32]) -> Any:
        parts = list(data) if self.channel_wise else [data]
        normal = [self._normal(part) for part in parts]
        return np.stack(normal) if self.channel_wise else normal[0]

    def _normal(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        # MONAI's rule in one pass; a float64 mean, as intensities may run into the millions.
        chosen = part != 0 if self.nonzero else np.ones(part.shape, bool)
        if not chosen.any():
            return part
        values = part[chosen]
        mean = values.mean(dtype=np.float64) if self.subtrahend is None else self.subtrahend
        deviation = values.std(dtype=np.float64) if self.divisor is None else self.divisor
        result = part.copy()
        result[chosen] = (values - mean) / (deviation or 1.0)
        return result


@dataclass(frozen=True, kw_only=True)
class Clip(_Intensity):
    """Cut intensities below ``minimum`` and above ``maximum``, or at percentiles of the scan."""

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
        for share in (self.lower_percentile, self.upper_percentile):
            if share is not None and not 0 <= share <= 100:
                raise ValueError(f"percentiles lie in 0..100, not {share}")

    def _changed(self, data: NDArray[np.float32]) -> Any:
        return np.stack([np.clip(part, *self._limits(part)) for part in data])

    def _limits(self, part: NDArray[np.float32]) -> tuple[float | None, float | None]:
        low, high = self.minimum, self.maximum
        if self.lower_percentile is not None:
            low = float(np.percentile(part, self.lower_percentile))
        if self.upper_percentile is not None:
            high = float(np.percentile(part, self.upper_percentile))
        return low, high
