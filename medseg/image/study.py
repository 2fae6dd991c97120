"""One patient's scan before it is read: a name and paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Stack:
    """Slices in many files, or in frames of one, that are one image.

    ``slices`` are files and frames (from 0), in any order; ``folder`` is where they were found,
    and stands for them where one path is wanted. ``series`` is the number that names them.
    """

    folder: Path
    slices: tuple[tuple[Path, int], ...]
    series: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.slices))

    @property
    def name(self) -> str:
        """How the image is called in a sentence."""
        return f"{self.folder.name} ({len(self.slices)} slices)"

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return f"{self.folder} ({len(self.slices)} slices)"


@dataclass(frozen=True)
class Study:
    """A name, one image a channel, a file or a stack of them, and a reference mask or none.

    ``attributes`` are what a manifest's other columns say of the study (site, patient, sex).
    """

    name: str
    images: tuple[Path | Stack, ...]
    reference: Path | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __reduce__(self) -> tuple[type[Study], tuple[Any, ...]]:
        """A study goes to other processes, which a read-only view cannot."""
        return Study, (self.name, self.images, self.reference, dict(self.attributes))
