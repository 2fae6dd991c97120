"""Intensities scaled by those of the foreground alone, as of scans whose background was cut off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.image import Volume
from medseg.preprocess.channels import check_channels, chosen_channels, finite
from medseg.preprocess.intensity import standardised
from medseg.step import Step


@dataclass(frozen=True, kw_only=True)
class NormalizeForeground(Step):
    """Subtract the foreground's mean and divide by its standard deviation; the rest stays.

    Foreground is where any channel is other than 0, with its holes filled (nnU-Net's z-score in
    a mask, Isensee et al. 2021). A channel without deviation becomes 0. ``channels``, counted
    from 0, are those that are changed; null is every one.
    """

    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_channels(self.channels)

    def __call__(self, volume: Volume) -> Volume:
        """The volume with other intensities, on its grid."""
        from scipy.ndimage import binary_fill_holes

        foreground = binary_fill_holes((volume.data != 0).any(0))
        data = np.array(volume.data, order="C")
        if foreground.any():
            for channel in chosen_channels(volume, self.channels):
                data[channel][foreground] = standardised(data[channel][foreground])
        return Volume(finite(data, type(self)), volume.grid)
