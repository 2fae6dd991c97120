"""How scans are read: the keys of a pipeline's ``input:`` that change what comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args, get_type_hints

from medseg.errors import StudyError
from medseg.io.sizes import in_gib, spaced
from medseg.step import Step

LIMITS = ("memory_gib", "voxels")
"""Which options are limits; a site has them too, and the smaller of both counts."""


@dataclass(frozen=True)
class SeriesRule:
    """Which DICOM series is meant where a patient has several; all that is said must hold.

    ``description`` is a part of the series' description, ``image_type`` one of the words of its
    image type, ``stack`` the number of a stack in its series, from 1.
    """

    modality: str | None = None
    description: str | None = None
    number: int | None = None
    uid: str | None = None
    image_type: str | None = None
    stack: int | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, one.name) is None for one in fields(self)):
            raise ValueError("a rule for series says at least one thing about them")
        for one in ("modality", "description", "uid", "image_type"):
            if getattr(self, one) == "":
                raise ValueError(f"{one} is a text, or left out")
        if self.stack is not None and self.stack < 1:
            raise ValueError(f"stack counts from 1, not {self.stack}")


@dataclass(frozen=True)
class ReadOptions(Step):
    """What the strict door lets through on request.

    ``nonfinite: fill`` gives NaN and infinite voxels the smallest finite value of the file.
    ``geometry`` says which of sform and qform rules where they contradict each other.
    ``frames: each`` reads a 4D series frame by frame. ``align: resample`` brings further
    channels onto the grid of the first. ``memory_gib`` is the most that reading one study may
    take, ``voxels`` how many an image of it may have (None: no limit of its own).

    Of DICOM: ``series`` says which of several series is meant (None: there must be one only;
    ``each``: every one is a study). ``missing_slices: interpolate`` fills gaps from the slices
    on either side. ``pet: stored`` leaves PET in its own units, where ``suv`` makes SUV by body
    weight. ``rois`` says what a label is called among the contours or segments of a reference,
    such as {tumour: GTV_Mass}.
    """

    nonfinite: Literal["refuse", "fill"] = "refuse"
    geometry: Literal["agree", "sform", "qform"] = "agree"
    frames: Literal["refuse", "each"] = "refuse"
    align: Literal["refuse", "resample"] = "refuse"
    memory_gib: float | None = None
    voxels: float | None = None
    series: Literal["each"] | SeriesRule | None = None
    missing_slices: Literal["refuse", "interpolate"] = "refuse"
    pet: Literal["suv", "stored"] = "suv"
    rois: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hints: dict[str, Any] = get_type_hints(ReadOptions)
        for name in ("nonfinite", "geometry", "frames", "align", "missing_slices", "pet"):
            words = get_args(hints[name])
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} is one of {', '.join(words)}, not {getattr(self, name)!r}"
                )
        for name in LIMITS:
            given = getattr(self, name)
            if given is not None and not given > 0:
                raise ValueError(f"{name} is above 0, not {given}")

    @property
    def unlimited(self) -> Self:
        """The same for a machine without limits, by which no voxel differs."""
        return replace(self, memory_gib=None, voxels=None)

    def refuse_large(self, voxels: int, taken: float, copies: int) -> None:
        """StudyError E_TOO_LARGE where an image of ``voxels`` passes a limit.

        ``taken`` bytes are in use already, and ``copies`` of it will be held in float32.
        """
        if self.voxels is not None and voxels > self.voxels:
            told = f"{spaced(voxels)} voxels, limits.voxels is {spaced(int(self.voxels))}"
            raise StudyError("E_TOO_LARGE", told)
        needed = (taken + 4 * voxels * copies) / 2**30
        if self.memory_gib is not None and needed > self.memory_gib:
            told = f"{spaced(voxels)} voxels need {in_gib(needed)} GiB here, limits.memory_gib is"
            raise StudyError("E_TOO_LARGE", f"{told} {in_gib(self.memory_gib)}")
