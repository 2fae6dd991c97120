"""sources.json: where a run's scans, references and masks lay, for who looks at it later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from medseg.image import Label, Labels
from medseg.io import ReadOptions, write_atomically
from medseg.io.options import SeriesRule

_PLACES = ("scans", "references", "predictions")


@dataclass(frozen=True)
class Sources:
    """Paths as the command named them, how they were read, and the labels.

    ``predictions`` is None where the masks are the output folder's own. ``readers`` are folders
    of several readers by their names; ``references`` is then their consensus. Paths are kept
    relative to the output folder, so that both can move together.
    """

    scans: Path | None = None
    references: Path | None = None
    predictions: Path | None = None
    channels: tuple[str, ...] = ("image",)
    labels: Labels | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    readers: Mapping[str, Path] = field(default_factory=dict)


def write_sources(output: Path, sources: Sources) -> None:
    """Write ``output/sources.json``."""
    said: dict[str, Any] = {}
    for name in _PLACES:
        path = getattr(sources, name)
        said[name] = None if path is None else os.path.relpath(path, output)
    if sources.readers:
        said["readers"] = {n: os.path.relpath(p, output) for n, p in sources.readers.items()}
    labels = sources.labels
    said |= {
        "channels": list(sources.channels),
        "labels": [asdict(label) for label in labels] if labels else None,
        "ignore": labels.ignore if labels else None,
        "read": _told(sources.options),
    }
    text = json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(output / "sources.json", text.encode("utf-8", "backslashreplace"))


def read_sources(output: Path) -> Sources:
    """What ``output/sources.json`` says; nothing where it is not there or cannot be read."""
    try:
        said = json.loads((output / "sources.json").read_text("utf-8"))
        places = {name: _place(output, said.get(name)) for name in _PLACES}
        labels = said.get("labels")
        readers = {name: _place(output, path) for name, path in said.get("readers", {}).items()}
        return Sources(
            **places,
            readers={name: path for name, path in readers.items() if path is not None},
            channels=tuple(said["channels"]),
            labels=Labels(tuple(map(_label, labels)), said["ignore"]) if labels else None,
            options=_options(said["read"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Sources()


def _place(output: Path, said: str | None) -> Path | None:
    return None if said is None else Path(os.path.normpath(output / said))


def _label(said: Mapping[str, Any]) -> Label:
    return Label(**{**said, "values": tuple(said["values"])})


def _told(options: ReadOptions) -> dict[str, Any]:
    """The fields of reading alone; a pipeline's input has more, and a machine's memory is its."""
    plain = {one.name: getattr(options, one.name) for one in fields(ReadOptions)}
    return asdict(replace(ReadOptions(), **plain).unlimited)


def _options(said: Mapping[str, Any]) -> ReadOptions:
    series = said.get("series")
    rule = SeriesRule(**series) if isinstance(series, dict) else series
    return ReadOptions(**{**said, "series": rule})
