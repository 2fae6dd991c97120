"""Voxels that are far longer along one axis than along the others, as those of thick slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medseg.image.splines import Apart

_EQUAL = 1e-6
"""Sides that differ by a smaller share are one length: headers hold them in single precision."""


@dataclass(frozen=True)
class CoarseAxis:
    """Where one side is more than ``above`` times another, the longest has a ``mode`` of its own.

    What is interpolated between thick slices is nowhere in the patient (Isensee et al. 2021).
    """

    above: float = 3.0
    mode: Literal["nearest", "linear"] = "nearest"

    def __post_init__(self) -> None:
        if not self.above >= 1:
            raise ValueError(f"above is 1 or more, not {self.above}")

    def of(self, before_mm: Sequence[float], after_mm: Sequence[float]) -> int | None:
        """The axis of voxels before, else of those after, whose side is the only longest one."""
        for sides in (before_mm, after_mm):
            if max(sides) / min(sides) > self.above:
                longest = [a for a, side in enumerate(sides) if side >= max(sides) * (1 - _EQUAL)]
                return longest[0] if len(longest) == 1 else None
        return None

    def apart(self, before_mm: Sequence[float], after_mm: Sequence[float]) -> Apart | None:
        """That axis with its mode, as ``resample`` takes them."""
        axis = self.of(before_mm, after_mm)
        return None if axis is None else (axis, self.mode)
