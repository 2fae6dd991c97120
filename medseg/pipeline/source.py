"""YAML text to nodes that remember where they stood.

The syntax is read by ruamel.yaml; what it says is decided here, so that nothing surprising is
left: YAML 1.2 scalars (``1e-4`` is a number, ``no`` is text), no aliases, no tags, no key
twice, a bounded size and depth. Every mistake becomes a complaint, and reading goes on.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import Complaint, PipelineError

Scalar = str | int | float | bool | None

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_MEANINGS: dict[str, Scalar] = {"null": None, "true": True, "false": False}
_WORDS: dict[str, Scalar] = {"": None, "~": None} | {
    spelt: meaning
    for word, meaning in _MEANINGS.items()
    for spelt in (word, word.capitalize(), word.upper())
}
_NAN = {".nan", ".NaN", ".NAN"}


@dataclass(frozen=True)
class Source:
    """A text and its name: a file, or what stood behind ``--set``."""

    name: str
    text: str
    folder: Path
    """Relative paths in the text start here."""
    first_line: int = 1

    def line(self, number: int) -> str:
        """The line of that number, as it stands in the text."""
        lines = _BREAK.split(self.text)
        return lines[min(number - self.first_line, len(lines) - 1)]

    def complaint(self, line: int, column: int, key: str, message: str) -> Complaint:
        """A mistake at that place of the text."""
        return Complaint(self.name, line, column, key, message, self.line(line))


@dataclass(frozen=True)
class Node:
    """What a text says at one place; lines and columns count from 1."""

    source: Source = field(repr=False)
    line: int
    column: int

    def complaint(self, key: str, message: str) -> Complaint:
        """A mistake in what stands here."""
        return self.source.complaint(self.line, self.column, key, message)


@dataclass(frozen=True)
class Leaf(Node):
    """A number, a text, true, false or nothing."""

    value: Scalar


@dataclass(frozen=True)
class Items(Node):
    """A list."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Entry:
    """A key and what it says."""

    key: Leaf
    value: Node


@dataclass(frozen=True)
class Table(Node):
    """A mapping; its keys are texts."""

    entries: Mapping[str, Entry]


class _UnreadableError(Exception):
    """Nothing sensible can be read from here on."""


def scalar(text: str) -> Scalar:
    """What an unquoted YAML 1.2 scalar means (the core schema).

    Raises ValueError for NaN, which no option may be.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text in _NAN:
        raise ValueError("is not a number")
    if _INT.fullmatch(text):
        base = 10 if text[:2] not in ("0o", "0x") else 0
        return int(text, base)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf"))
    return text


def plain(node: Node) -> Any:
    """The node as Python's own values; lists become tuples."""
    if isinstance(node, Items):
        return tuple(plain(item) for item in node.items)
    if isinstance(node, Table):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    return node.value if isinstance(node, Leaf) else None


class _Composer:
    """Turns the parser's events into nodes, and collects what must not be there."""

    def __init__(self, source: Source, events: Iterator[Any]) -> None:
        self.source = source
        self.complaints: list[Complaint] = []
        self._events = events
        self._event: Any = None

    def document(self) -> Node:
        """The only document of the text; an empty text is an empty leaf."""
        while self._next() in ("StreamStart", "DocumentStart"):
            pass
        if self._kind() == "StreamEnd":
            return Leaf(self.source, self.source.first_line, 1, None)
        node = self._node(1)
        self._next()
        if self._next() != "StreamEnd":
            self._complain("a second document begins here; one file says one thing")
        return node

    def _next(self) -> str:
        self._event = next(self._events)
        return self._kind()

    def _kind(self) -> str:
        return type(self._event).__name__.removesuffix("Event")

    def _place(self) -> tuple[Source, int, int]:
        mark = self._event.start_mark
        return self.source, mark.line + self.source.first_line, mark.column + 1

    def _complain(self, message: str) -> None:
        source, line, column = self._place()
        self.complaints.append(source.complaint(line, column, "yaml", message))

    def _node(self, depth: int) -> Node:
        """The node that begins with the present event."""
        kind, place = self._kind(), self._place()
        if depth > MAX_DEPTH:
            self._complain(f"nested deeper than {MAX_DEPTH} levels")
            raise _UnreadableError
        if kind == "Alias":
            self._complain("an alias (*name); write the value out")
            return Leaf(*place, None)
        if self._event.anchor:
            self._complain("an anchor (&name); write values out where they are meant")
        if self._event.tag:
            self._complain(f"a tag ({self._event.tag}); values have no tags here")
        if kind == "Scalar":
            return Leaf(*place, self._scalar())
        if kind == "SequenceStart":
            return Items(*place, tuple(self._items(depth)))
        return Table(*place, self._entries(depth))

    def _scalar(self) -> Scalar:
        text = str(self._event.value)
        if self._event.style is not None:
            return text
        try:
            return scalar(text)
        except ValueError as error:
            self._complain(f"{text} {error}")
            return None

    def _items(self, depth: int) -> Iterator[Node]:
        while self._next() != "SequenceEnd":
            yield self._node(depth + 1)

    def _entries(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while self._next() != "MappingEnd":
            place, text = self._place(), self._event.value if self._kind() == "Scalar" else None
            self._node(depth + 1)
            if text is None:
                self.complaints.append(place[0].complaint(*place[1:], "yaml", "a key is a word"))
            elif text in entries:
                first = entries[text].key.line
                message = f"stands here a second time; the first is in line {first}"
                self.complaints.append(place[0].complaint(*place[1:], text, message))
            self._next()
            value = self._node(depth + 1)
            if text is not None and text not in entries:
                entries[text] = Entry(Leaf(*place, text), value)
        return entries


def parse(source: Source, text: str | None = None) -> tuple[Node | None, list[Complaint]]:
    """The text's node and the complaints about its writing; no node where it breaks off.

    ``text`` is read in place of the source's own, where only a part of that is YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    composer = _Composer(source, iter(()))
    try:
        composer._events = YAML(typ="safe", pure=True).parse(source.text if text is None else text)
        return composer.document(), composer.complaints
    except _UnreadableError:
        pass
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        message = f"not YAML: {_told(error)}"
        composer.complaints.append(
            source.complaint(line + source.first_line, column + 1, "yaml", message)
        )
    except (YAMLError, ValueError, OverflowError) as error:
        message = f"not YAML: {' '.join(str(error).split())}"
        composer.complaints.append(source.complaint(source.first_line, 1, "yaml", message))
    return None, composer.complaints


def _told(error: Any) -> str:
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    return problem


def read_source(path: Path) -> Source:
    """The text of a file, of a bounded size.

    Raises PipelineError: E_NOT_FOUND, E_NOT_A_FILE, E_PERMISSION, or E_CONFIG where it is too
    large or not UTF-8.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise PipelineError("E_NOT_A_FILE", "is not a regular file", path)
        if state.st_size > MAX_BYTES:
            raise PipelineError(
                "E_CONFIG", f"holds {state.st_size} bytes; such a file has at most 1 MB", path
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise PipelineError("E_NOT_FOUND", f"there is no such file{_near(path)}", path) from None
    except UnicodeDecodeError as error:
        raise PipelineError("E_CONFIG", f"is not UTF-8 text ({error.reason})", path) from None
    except (OSError, ValueError) as error:
        raise PipelineError("E_PERMISSION", f"cannot be read: {error}", path) from None
    return Source(str(path), text, _start_of(path.parent))


def _start_of(folder: Path) -> Path:
    """The folder, absolute; links are followed only so that ``..`` means what it says."""
    straight = folder.absolute()
    real = Path(os.path.realpath(straight))
    return straight if real == straight else real


def _near(path: Path) -> str:
    from difflib import get_close_matches

    try:
        names = [found.name for found in path.parent.iterdir()]
    except OSError:
        return f" (nor a folder {path.parent})"
    close = get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""
