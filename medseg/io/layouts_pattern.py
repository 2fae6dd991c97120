"""A pattern such as ``data/{study}/{channel}_image.nii.gz``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from medseg.errors import InputError
from medseg.image.study import Study
from medseg.io.layouts_files import Found, holdings, inside

_FIELD = re.compile(r"\{([^{}]*)\}")


def is_pattern(path: Path) -> bool:
    """Whether a path holds a field in braces and is not simply the name of something."""
    return bool(_FIELD.search(str(path))) and not os.path.lexists(path)


def filled(pattern: Path, study: str) -> Path:
    """The pattern's path for one study."""
    return Path(str(pattern).replace("{study}", study))


def check_fields(pattern: Path, allowed: Sequence[str]) -> None:
    """InputError E_NO_INPUT unless ``{study}`` is there, and nothing but ``allowed``."""
    fields = _FIELD.findall(str(pattern))
    wrong = [field for field in fields if field not in allowed]
    if wrong or "study" not in fields:
        known = " and ".join(f"{{{field}}}" for field in allowed)
        found = ", ".join(f"{{{field}}}" for field in wrong) or "no {study}"
        raise InputError("E_NO_INPUT", f"a pattern has the fields {known}, not {found}", pattern)


def by_pattern(pattern: Path, channels: Sequence[str]) -> Found:
    """Every study for which the pattern matches at least one channel's file."""
    check_fields(pattern, ("study", "channel"))
    if len(channels) > 1 and "{channel}" not in str(pattern):
        raise InputError(
            "E_NO_INPUT", f"the pattern needs {{channel}} to find {', '.join(channels)}", pattern
        )
    names = sorted({name for name, _ in _matches(pattern, channels)})
    if not names:
        start = _start(pattern)
        there = f"look at {start}: {holdings(start)}" if start.is_dir() else f"{start} is no folder"
        wanted = (
            f" with {{channel}} one of {', '.join(channels)}" if "{channel}" in str(pattern) else ""
        )
        raise InputError("E_NO_INPUT", f"no file matches the pattern{wanted}; {there}", pattern)
    # A channel's missing file keeps its path: the study fails by name when it is read.
    studies = [
        Study(name, tuple(_with_channel(filled(pattern, name), channel) for channel in channels))
        for name in names
    ]
    return Found("pattern", tuple(studies))


def _with_channel(path: Path, channel: str) -> Path:
    return Path(str(path).replace("{channel}", channel))


def _start(pattern: Path) -> Path:
    """The deepest folder of the pattern that has no field in it."""
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if _FIELD.search(part))
    return Path(*parts[:first])


def _matches(pattern: Path, channels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Study and channel of every file that matches."""
    start = _start(pattern)
    parts = pattern.parts[len(start.parts) :]
    todo: list[tuple[Path, int, dict[str, str]]] = [(start, 0, {})]
    while todo:
        place, depth, known = todo.pop()
        if depth == len(parts):
            yield known["study"], known.get("channel", channels[0])
            continue
        for path, values in _step(place, parts[depth], known, channels):
            if depth + 1 == len(parts) or path.is_dir():
                todo.append((path, depth + 1, values))


def _step(
    folder: Path, part: str, known: dict[str, str], channels: Sequence[str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """What in ``folder`` one part of the pattern can mean, and what its fields then are."""
    if not _FIELD.search(part):
        if os.path.lexists(folder / part):
            yield folder / part, known
        return
    wanted = re.compile(_expression(part, known, channels))
    for path in inside(folder) if folder.is_dir() else ():
        match = wanted.fullmatch(path.name)
        if match:
            yield path, known | match.groupdict()


def _expression(part: str, known: dict[str, str], channels: Sequence[str]) -> str:
    seen = dict.fromkeys(known, "")
    text = ""
    for place, piece in enumerate(_FIELD.split(part)):
        if place % 2 == 0:
            text += re.escape(piece)
        elif piece in known:
            text += re.escape(known[piece])
        elif piece in seen:
            text += f"(?P={piece})"
        else:
            seen[piece] = ""
            choices = ".+?" if piece == "study" else "|".join(map(re.escape, channels))
            text += f"(?P<{piece}>{choices})"
    return text
