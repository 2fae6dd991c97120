"""The YAML's ``labels:`` and ``ignore:``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medseg.image import Label, Labels
from medseg.pipeline.builder import BROKEN, Builder
from medseg.pipeline.leaves import found
from medseg.pipeline.source import Entry, Items, Leaf, Node, Table, plain
from medseg.pipeline.words import meant


@dataclass(frozen=True)
class _Long:
    """A label with more to say than its values."""

    value: int | None = None
    values: tuple[int, ...] | None = None
    colour: str | None = None
    code: str | None = None
    paint: int | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.values is None):
            raise ValueError("a label has either 'value' or 'values'")
        digits = (self.colour or "#000000").lower()
        if len(digits) != 7 or digits[0] != "#" or set(digits[1:]) - set("0123456789abcdef"):
            raise ValueError(f"colour is written #rrggbb, not {self.colour!r}")


def build_labels(builder: Builder, root: Table) -> Any:
    """The label table of a file, or BROKEN; the builder then knows the labels' names."""
    entry = root.entries.get("labels")
    if entry is None:
        if any(meant(name, ("labels",)) for name in root.entries):
            return BROKEN  # the misspelt key is told as an unknown option
        return builder.complain(root, "labels", "the file needs 'labels:', such as {tumour: 1}")
    node = entry.value
    builder.places["labels"] = node
    if not isinstance(node, Table) or not node.entries:
        message = (
            f"wants a mapping of names to values, such as {{tumour: 1}}, not {found(plain(node))}"
        )
        return builder.complain(node, "labels", message)
    builder.label_names = tuple(node.entries)
    labels = [_label(builder, name, one) for name, one in node.entries.items()]
    ignore = _ignore(builder, root.entries.get("ignore"))
    if ignore is BROKEN or any(label is BROKEN for label in labels):
        return BROKEN
    try:
        builder.built["labels"] = Labels(tuple(labels), ignore)
        return builder.built["labels"]
    except ValueError as error:
        message = str(error)
        of_ignore = message.startswith("the ignore value")
        place, at = (root.entries["ignore"].value, "ignore") if of_ignore else (entry.key, "labels")
        return builder.complain(place, at, message)


def _label(builder: Builder, name: str, entry: Entry) -> Any:
    at, node = f"labels.{name}", entry.value
    builder.places[at] = node
    if isinstance(node, Table):
        long = builder.section(_Long, node, at)
        if long is BROKEN:
            return BROKEN
        values = long.values or (long.value,)
        colour, code, paint = long.colour, long.code, long.paint
    else:
        values, colour, code, paint = _values(node), None, None, None
        if values is None:
            message = f"wants a value, a list of values or a mapping, not {found(plain(node))}"
            return builder.complain(node, at, message)
    try:
        return Label(name, values, colour, code, paint)
    except ValueError as error:
        return builder.complain(node, at, str(error))


def _values(node: Node) -> tuple[int, ...] | None:
    parts = node.items if isinstance(node, Items) else (node,)
    values = [part.value for part in parts if isinstance(part, Leaf)]
    if len(values) != len(parts) or not all(type(value) is int for value in values):
        return None
    return tuple(int(value) for value in values if isinstance(value, int))


def _ignore(builder: Builder, entry: Entry | None) -> Any:
    return None if entry is None else builder.value(int | None, entry, "ignore")
