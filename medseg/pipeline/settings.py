"""``--set key.path=value``: one option of the file, said otherwise for this run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import Complaint
from medseg.pipeline.source import MAX_DEPTH, Entry, Items, Leaf, Node, Source, Table, parse
from medseg.pipeline.words import instead


class _NoSuchPlaceError(Exception):
    """The path leads nowhere; says why, and which of its words did not fit."""

    def __init__(self, word: Leaf, message: str) -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True)
class _Setting:
    """The words of a path, and what shall stand there."""

    words: tuple[Leaf, ...]
    value: Node


def with_settings(
    root: Node | None, settings: Sequence[str]
) -> tuple[Node | None, list[Complaint]]:
    """The tree with each setting put in its place, and what was wrong with the settings.

    Values are YAML. Items of a list are named by number from 0 or by their step's name. Relative
    paths in a setting start at the working folder, as they do for every other argument.
    """
    complaints: list[Complaint] = []
    for number, text in enumerate(settings, 1):
        source = Source("--set", text, Path.cwd(), number)
        setting, wrong = _read(source)
        complaints += wrong
        if setting is None or root is None:
            continue
        try:
            root = _put(root, setting.words, setting.value)
        except _NoSuchPlaceError as error:
            path = ".".join(str(word.value) for word in setting.words)
            complaints.append(error.word.complaint(path, str(error)))
    return root, complaints


def _read(source: Source) -> tuple[_Setting | None, list[Complaint]]:
    path, equals, _ = source.text.partition("=")
    words = path.split(".")
    if not equals or not all(word.strip() for word in words) or len(words) > MAX_DEPTH:
        message = "a setting is written key.path=value"
        return None, [source.complaint(source.first_line, 1, path.strip() or "--set", message)]
    leaves, column = [], 1
    for word in words:
        leaves.append(Leaf(source, source.first_line, column, word.strip()))
        column += len(word) + 1
    # Spaces take the path's place, so that columns in the value are those of the setting.
    value, wrong = parse(source, " " * (len(path) + 1) + source.text[len(path) + 1 :])
    if value is None or wrong:
        return None, wrong
    if isinstance(value, Leaf) and value.value is None:
        value = replace(value, line=source.first_line, column=len(path) + 2)
    return _Setting(tuple(leaves), value), wrong


def _put(node: Node | None, words: Sequence[Leaf], value: Node) -> Node:
    if not words:
        return value
    if isinstance(node, Items):
        return _into_list(node, words, value)
    word = words[0]
    if isinstance(node, Table):
        known = node.entries.get(str(word.value))
        entry = Entry(
            known.key if known else word, _put(known.value if known else None, words[1:], value)
        )
        return replace(node, entries={**node.entries, str(word.value): entry})
    if node is None or (isinstance(node, Leaf) and node.value is None):
        inner = Entry(word, _put(None, words[1:], value))
        return Table(word.source, word.line, word.column, {str(word.value): inner})
    found = node.value if isinstance(node, Leaf) else node
    raise _NoSuchPlaceError(word, f"{found!r} stands there, which has nothing called {word.value}")


def _into_list(node: Items, words: Sequence[Leaf], value: Node) -> Node:
    place, by_name = _which(node, words[0])
    old, rest = node.items[place], words if by_name else words[1:]
    new = _put(old, rest, value) if not rest else _into_step(old, rest, value)
    return replace(node, items=(*node.items[:place], new, *node.items[place + 1 :]))


def _which(node: Items, word: Leaf) -> tuple[int, bool]:
    """The place of the item that a word means, and whether it was named."""
    text = str(word.value)
    names = [_step_name(item) for item in node.items]
    if text.isdecimal() and len(text) < 6:
        if int(text) < len(names):
            return int(text), False
        raise _NoSuchPlaceError(word, f"the list has {len(names)} items, counted from 0")
    if names.count(text) == 1:
        return names.index(text), True
    if text in names:
        raise _NoSuchPlaceError(word, f"{names.count(text)} steps are called {text}; give a number")
    known = [name for name in names if name]
    raise _NoSuchPlaceError(word, f"no such step in the list{instead(text, known)}")


def _step_name(item: Node) -> str:
    if isinstance(item, Table) and len(item.entries) == 1:
        return next(iter(item.entries))
    return item.value if isinstance(item, Leaf) and isinstance(item.value, str) else ""


def _into_step(item: Node, words: Sequence[Leaf], value: Node) -> Node:
    """Into an item of a list; the step's name may be said or left out."""
    name = _step_name(item)
    if isinstance(item, Leaf) and name:
        key = Leaf(item.source, item.line, item.column, name)
        item = Table(
            item.source, item.line, item.column, {name: Entry(key, replace(key, value=None))}
        )
    if not name or words[0].value == name:
        return _put(item, words, value)
    assert isinstance(item, Table)
    entry = item.entries[name]
    return replace(item, entries={name: Entry(entry.key, _put(entry.value, words, value))})
