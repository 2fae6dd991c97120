"""Any other deterministic transform of MONAI, by its class name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from medseg.errors import StudyError
from medseg.image import Volume
from medseg.step import Step


@dataclass(frozen=True)
class Monai(Step):
    """Run ``transform``, an array transform of ``monai.transforms``, on the image.

    All other options are its arguments, checked against its signature before work begins. It
    must be deterministic and keep the shape; grids are changed by ``orientation``, ``spacing``
    and ``crop_foreground``.
    """

    extra_options: ClassVar[str | None] = "arguments"

    transform: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self._built

    @cached_property
    def _built(self) -> Any:
        from difflib import get_close_matches
        from inspect import isclass

        import monai.transforms as known
        from monai.transforms import MapTransform, Randomizable, Transform

        allowed = {
            name
            for name, found in vars(known).items()
            if isclass(found)
            and issubclass(found, Transform)
            and not issubclass(found, MapTransform | Randomizable)
            # What reads and writes files is the door's work, and could write anywhere.
            and not found.__module__.startswith("monai.transforms.io")
        }
        if self.transform not in allowed:
            near = get_close_matches(self.transform, allowed, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{self.transform!r} is no deterministic array transform of MONAI{hint}"
            )
        try:
            return getattr(known, self.transform)(**self.arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.transform} does not take this: {error}") from error

    def __call__(self, volume: Volume) -> Volume:
        """The volume with what MONAI made of its data."""
        data = np.ascontiguousarray(self._built(volume.data), dtype=np.float32)
        if data.shape[1:] != volume.grid.shape:
            raise StudyError(
                "E_NDIM",
                f"monai {self.transform} made {data.shape} of {volume.data.shape}; use a step"
                " that knows about grids",
            )
        return Volume(data, volume.grid)
