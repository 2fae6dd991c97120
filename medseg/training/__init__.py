"""Floor 3: a network and labelled studies to weights."""

from medseg.training.augmentation import Augmentation
from medseg.training.intensities import (
    RandAdjustContrast,
    RandBiasField,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandLowResolution,
    RandScaleIntensity,
    RandShiftIntensity,
)
from medseg.training.recipe import Training
from medseg.training.spatial import RandAffine, RandElastic, RandFlip

AUGMENTATION: dict[str, type[Augmentation]] = {
    "rand_flip": RandFlip,
    "rand_affine": RandAffine,
    "rand_elastic": RandElastic,
    "rand_gaussian_noise": RandGaussianNoise,
    "rand_gaussian_smooth": RandGaussianSmooth,
    "rand_scale_intensity": RandScaleIntensity,
    "rand_shift_intensity": RandShiftIntensity,
    "rand_adjust_contrast": RandAdjustContrast,
    "rand_bias_field": RandBiasField,
    "rand_low_resolution": RandLowResolution,
}

__all__ = ["AUGMENTATION", "Augmentation", "Training"]
