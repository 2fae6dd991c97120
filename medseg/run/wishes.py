"""What a plan is asked for, and what it answers with: options, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.run.sizing import Budget

Modality = Literal["CT", "MR", "PET", "other"]
Stage = Literal["whole", "low"]
THICK = 3.0
"""From this ratio of spacings on, slices are thick (Isensee et al. 2021)."""


@dataclass(frozen=True)
class Wish:
    """What the user names: budget, modality, dimensions, the stage and the crop before it."""

    budget: Budget
    modality: Modality | None = None
    dims: Literal["auto", "2", "3"] = "auto"
    stage: Stage = "whole"
    within: Path | None = None
    margin_mm: float = 20.0


@dataclass(frozen=True)
class Chosen:
    """An option, its value, and why; a mapping of more of them where it is a section."""

    value: Any
    why: str = ""


Section = dict[str, Any]
