"""Floor 2: steps from a volume to a volume, MONAI's transforms under their own words."""

from typing import Any

from medseg.preprocess.any_monai import Monai
from medseg.preprocess.foreground import NormalizeForeground
from medseg.preprocess.geometry import CropForeground, Orientation, Spacing, Transpose
from medseg.preprocess.intensity import (
    Clip,
    NormalizeIntensity,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)

PREPROCESS: dict[str, type[Any]] = {
    "orientation": Orientation,
    "transpose": Transpose,
    "spacing": Spacing,
    "crop_foreground": CropForeground,
    "scale_intensity_range": ScaleIntensityRange,
    "scale_intensity_range_percentiles": ScaleIntensityRangePercentiles,
    "normalize_intensity": NormalizeIntensity,
    "normalize_foreground": NormalizeForeground,
    "clip": Clip,
    "monai": Monai,
}
