"""Any other deterministic transform of MONAI, by its class name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from inspect import isclass, signature
from typing import Any, ClassVar

import numpy as np

from medseg.errors import StudyError
from medseg.image import Grid, Volume
from medseg.preprocess.channels import finite
from medseg.step import Step

_MODULES = ("croppad", "intensity", "post", "signal", "spatial", "utility")
# These reach outside the image (other packages, other functions, the log), draw by lot, or move
# voxels without a word about it.
_REFUSED = {
    *("CuCIM", "DataStats", "Lambda", "SimulateDelay", "TorchIO", "TorchVision"),
    *("RandCuCIM", "RandTorchIO", "RandTorchVision"),
    *("ApplyTransformToPoints", "AsChannelLast", "GridDistortion", "Transpose"),
}


@dataclass(frozen=True)
class Monai(Step):
    """Run ``transform``, an array transform of ``monai.transforms``, on the image.

    All other options are its arguments, checked against its signature before work begins. It
    must be deterministic. Where it turns, crops or resamples, the grid follows what MONAI says
    of the new affine; ``orientation``, ``spacing`` and ``crop_foreground`` do so exactly.
    """

    extra_options: ClassVar[str | None] = "arguments"

    transform: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self._built

    @cached_property
    def _built(self) -> Any:
        known = _transforms()
        if self.transform not in known:
            near = get_close_matches(self.transform, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"transform {self.transform!r} is no deterministic array transform of MONAI{hint}"
            )
        made = known[self.transform]
        try:
            signature(made).bind(**self.arguments)
            return made(**self.arguments)
        except Exception as error:  # whatever a constructor thinks of an option's value
            raise ValueError(f"{self.transform} does not take this: {error}") from error

    def __call__(self, volume: Volume) -> Volume:
        """The volume with what MONAI made of its data, where MONAI says that it lies.

        Raises StudyError E_CONFIG where the transform cannot be used on it, E_NDIM where its
        shape changed without a new place, E_NONFINITE.
        """
        from monai.data import MetaTensor

        # A copy, as some transforms write to what they are given.
        image = MetaTensor(volume.data.copy(), affine=volume.grid.affine.copy())
        try:
            made = self._built(image)
            if isinstance(made, tuple | list) or getattr(made, "has_pending_operations", False):
                raise TypeError("it does not give one finished image")
            data = np.ascontiguousarray(made, dtype=np.float32)
        except MemoryError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise StudyError(
                "E_CONFIG", f"monai {self.transform} cannot be used on this scan: {reason}"
            ) from error
        return Volume(finite(data, type(self)), self._grid(made, data.shape, volume.grid))

    def _grid(self, made: Any, shape: tuple[int, ...], old: Grid) -> Grid:
        from monai.data import MetaTensor
        from monai.transforms import InvertibleTransform

        # Only transforms that can be undone keep account of the affine.
        tracked = isinstance(made, MetaTensor) and isinstance(self._built, InvertibleTransform)
        if len(shape) != 4 or (shape[1:] != old.shape and not tracked):
            raise StudyError(
                "E_NDIM",
                f"monai {self.transform} made {shape} of (C, {', '.join(map(str, old.shape))})"
                " without saying where it lies; orientation, spacing and crop_foreground know",
            )
        if not tracked:
            return old
        new = Grid(np.asarray(made.affine, dtype=np.float64), (shape[1], shape[2], shape[3]))
        return old if new.near(old, 1e-6) else new


def _transforms() -> Mapping[str, type[Any]]:
    """The transforms that may be named, by their class names."""
    import monai.transforms
    from monai.transforms import MapTransform, Randomizable, Transform

    homes = {f"monai.transforms.{name}.array" for name in _MODULES}
    return {
        name: found
        for name, found in vars(monai.transforms).items()
        if isclass(found)
        and found.__module__ in homes
        and issubclass(found, Transform)
        and not issubclass(found, MapTransform | Randomizable)
        and name not in _REFUSED
    }
