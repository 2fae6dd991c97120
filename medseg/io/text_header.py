"""Headers that are lines of text, as NRRD and MetaImage have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from medseg.errors import StudyError
from medseg.io.sizes import in_bytes
from medseg.io.stream import ByteStream

_LONGEST_LINE = 1 << 16
_MOST_LINES = 1 << 12
_SHOWN = 60
_NUMBERS = re.compile(r"(?:[-+\d.,()\s]|\d[eE](?=[-+\d])|nan|inf|none)*", re.ASCII)
Fields = dict[str, str]


@dataclass(frozen=True)
class Keys:
    """The keys that a format has; any other may be a person's name, and is not said.

    ``words`` are followed by words or free text, which is not said either.
    """

    numbers: frozenset[str]
    words: frozenset[str]

    @classmethod
    def of(cls, numbers: str, words: str) -> Keys:
        """From lists with commas."""
        return cls(frozenset(numbers.split(", ")), frozenset(words.split(", ")))


def lines_of(stream: ByteStream) -> Iterator[str]:
    """Line by line; the stream stands behind the line last given.

    Raises StudyError E_HEADER_INVALID where there is no end to a line or to the lines.
    """
    for _ in range(_MOST_LINES):
        ahead = b""
        for size in (256, _LONGEST_LINE):
            ahead = stream.peek(size)
            if b"\n" in ahead or len(ahead) < size:
                break
        else:
            raise invalid(f"a line of the header has more than {in_bytes(_LONGEST_LINE)}")
        if not ahead:
            return
        line = ahead.partition(b"\n")[0]
        stream.skip(len(line) + 1)
        yield line.decode(errors="replace").strip()
    raise invalid(f"the header has more than {_MOST_LINES} lines")


def invalid(message: str) -> StudyError:
    """A header that contradicts itself or its format."""
    return StudyError("E_HEADER_INVALID", message)


def said_once(fields: Fields, key: str, value: str, keys: Keys) -> None:
    """Add a field. StudyError E_HEADER_INVALID where the header has said otherwise before."""
    before = fields.setdefault(key, value)
    if before == value:
        return
    if key in keys.numbers:
        raise invalid(f"the header says {key} twice: {quoted(before)} and {quoted(value)}")
    what = key if key in keys.words else "a key that its format does not have"
    raise invalid(f"the header says {what} twice, with different values")


def quoted(value: str) -> str:
    """Numbers as a message shows them; what stands in their place may be a name, and is not."""
    shown = value[:_SHOWN]
    return repr(shown) if _NUMBERS.fullmatch(shown) else "words"


def numbers(text: str, key: str, count: int | None = None) -> tuple[float, ...]:
    """Numbers set apart by blanks or commas; ``count`` of them if given."""
    try:
        found = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise invalid(f"{key} wants numbers and says {quoted(text)}") from None
    if count is not None and len(found) != count:
        raise invalid(f"{key} wants {count} numbers and has {len(found)}")
    return found


def sides(text: str, key: str, count: int) -> tuple[int, ...]:
    """Numbers of voxels, each of them a whole number from 1 on."""
    found = numbers(text, key, count)
    if not all(isfinite(side) and side >= 1 and side == int(side) for side in found):
        raise invalid(f"{key} is {quoted(text)}; sides are whole numbers from 1 on")
    return tuple(int(side) for side in found)


def beside(path: Path, name: str) -> Path:
    """The data file that a header names, which lies in the header's own folder or below.

    Raises StudyError E_PATH_ESCAPE for one that would lie elsewhere, E_HEADER_INVALID for a
    name that no file can have.
    """
    data = path.parent / name
    try:
        inside = data.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError, ValueError):
        raise invalid(f"no file can be called {name[:100]!r}") from None
    if not inside:
        raise StudyError("E_PATH_ESCAPE", f"names voxels outside its own folder: {name[:100]!r}")
    return data
