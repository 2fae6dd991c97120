"""Floor 3: a network and labelled studies to weights."""

from medseg.training.augmentation import AUGMENTATION, Augmentation
from medseg.training.recipe import Training

__all__ = ["AUGMENTATION", "Augmentation", "Training"]
