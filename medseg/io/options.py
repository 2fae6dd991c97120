"""How scans are read: the keys of a pipeline's ``input:`` that change what comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from medseg.step import Step


@dataclass(frozen=True)
class ReadOptions(Step):
    """What the strict door lets through on request.

    ``nonfinite: fill`` gives NaN and infinite voxels the smallest finite value of the file.
    ``geometry`` says which of sform and qform rules where they contradict each other.
    ``frames: each`` reads a 4D series frame by frame. ``align: resample`` brings further
    channels onto the grid of the first. ``memory_gib`` is the most that reading one study may
    take (None: no limit of its own).
    """

    nonfinite: Literal["refuse", "fill"] = "refuse"
    geometry: Literal["agree", "sform", "qform"] = "agree"
    frames: Literal["refuse", "each"] = "refuse"
    align: Literal["refuse", "resample"] = "refuse"
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        hints: dict[str, Any] = get_type_hints(ReadOptions)
        for name in ("nonfinite", "geometry", "frames", "align"):
            words = get_args(hints[name])
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} is one of {', '.join(words)}, not {getattr(self, name)!r}"
                )
        if self.memory_gib is not None and not self.memory_gib > 0:
            raise ValueError(f"memory_gib is above 0, not {self.memory_gib}")
