"""Floor 1: what flows through medseg, each thing frozen and with its grid."""

from medseg.image.grid import Grid
from medseg.image.labelmap import LabelMap, mask_dtype
from medseg.image.labels import Label, Labels
from medseg.image.study import Stack, Study
from medseg.image.volume import Volume

__all__ = ["Grid", "Label", "LabelMap", "Labels", "Stack", "Study", "Volume", "mask_dtype"]
