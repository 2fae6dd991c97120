"""Floor 2: steps from a mask to a cleaner mask."""

from typing import Any

from medseg.postprocess.components import KeepLargest, RemoveSmall
from medseg.postprocess.holes import FillHoles
from medseg.postprocess.relabel import Relabel
from medseg.postprocess.shape import Inside, Smooth

POSTPROCESS: dict[str, type[Any]] = {
    "keep_largest": KeepLargest,
    "remove_small": RemoveSmall,
    "fill_holes": FillHoles,
    "smooth": Smooth,
    "inside": Inside,
    "relabel": Relabel,
}
