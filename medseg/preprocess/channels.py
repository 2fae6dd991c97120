"""Which channels a step is about, and that what it gives is finite."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Volume


def check_channels(channels: Sequence[int] | None) -> None:
    """Raise ValueError unless ``channels`` is None or counts from 0, each once."""
    if channels is None:
        return
    if not channels or min(channels) < 0 or len(set(channels)) != len(channels):
        raise ValueError(f"channels count from 0, each once, at least one, not {list(channels)}")


def chosen_channels(volume: Volume, channels: Sequence[int] | None) -> Sequence[int]:
    """The channels, or all of them. Raises StudyError E_NDIM for one that is not there."""
    if channels is None:
        return range(volume.channels)
    if max(channels) >= volume.channels:
        raise StudyError(
            "E_NDIM",
            f"there is no channel {max(channels)}: the scan has {volume.channels}, counted from 0",
        )
    return channels


def finite(data: NDArray[np.float32], step: type[object]) -> NDArray[np.float32]:
    """The same data. Raises StudyError E_NONFINITE where there is NaN or infinity."""
    # NaN passes through both, and neither needs an array of its own.
    if not np.isfinite([data.min(), data.max()]).all():
        word = re.sub("(?<=.)(?=[A-Z])", "_", step.__name__).lower()
        raise StudyError("E_NONFINITE", f"{word} made intensities that are NaN or infinite")
    return data
