"""One patient's scan before it is read: a name and paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class Study:
    """A name, one image file a channel, and a reference mask or none.

    ``attributes`` are what a manifest's other columns say of the study (site, patient, sex).
    """

    name: str
    images: tuple[Path, ...]
    reference: Path | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
