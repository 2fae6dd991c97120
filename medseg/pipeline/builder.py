"""From nodes to frozen dataclasses; every mistake becomes a complaint, and building goes on.

A field is one of four kinds, told by its annotation: a list of steps from a room's table, a
network named from the table of models, a section (another dataclass), or a single option.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from medseg.errors import Complaint
from medseg.pipeline import rooms
from medseg.pipeline.leaves import UnfitError, found, leaf, without_none, without_section
from medseg.pipeline.source import Entry, Items, Leaf, Node, Table, plain
from medseg.pipeline.words import instead, meant

Tables = Callable[[str], Mapping[str, type[Any]]]


@dataclass(frozen=True)
class Spot:
    """Where a thing is built: its node, its key, and what a person calls it."""

    node: Node
    at: str
    what: str
    also: tuple[str, ...] = ()
    """Keys that stand here too, and are built elsewhere."""

    def key(self, name: str) -> str:
        """The key of one of its options."""
        return f"{self.at}.{name}" if self.at else name


class _Broken:
    """Stands for what could not be built; the complaint is already made."""


BROKEN: Final = _Broken()


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The annotations of a dataclass's options."""
    hints = get_type_hints(cls, include_extras=True)
    return {one.name: hints[one.name] for one in fields(cls) if one.init}


def needed_of(cls: type[Any]) -> list[str]:
    """The options without a default."""
    return [
        one.name
        for one in fields(cls)
        if one.init and one.default is MISSING and one.default_factory is MISSING
    ]


def steps_in(hint: Any, name: str) -> str | None:
    """The room of a field that holds a list of steps; None for other fields."""
    bare, _ = without_none(hint)
    if get_origin(bare) is not tuple or get_args(bare)[1:] != (...,):
        return None
    return rooms.room_of(get_args(bare)[0], name)


@dataclass
class Builder:
    """Builds, and keeps the complaints and the place of everything it has seen."""

    tables: Tables = rooms.table
    label_names: Collection[str] | None = None
    """The pipeline's labels, once known; names in steps are held against them."""
    complaints: list[Complaint] = field(default_factory=list)
    places: dict[str, Node] = field(default_factory=dict)
    built: dict[str, Any] = field(default_factory=dict)

    def complain(self, node: Node, at: str, message: str) -> _Broken:
        """Note a mistake; gives what stands for the unbuilt thing."""
        self.complaints.append(node.complaint(at or "pipeline", message))
        return BROKEN

    def section(self, cls: type[Any], node: Node, at: str) -> Any:
        """A dataclass from a mapping of its fields."""
        if not isinstance(node, Table):
            return self.complain(node, at, f"wants a mapping of options, not {found(plain(node))}")
        return self.made(cls, Spot(node, at, at.rpartition(".")[2]), node.entries)

    def made(
        self,
        cls: type[Any],
        spot: Spot,
        entries: Mapping[str, Entry],
        given: Mapping[str, Any] | None = None,
    ) -> Any:
        """A dataclass of entries; ``given`` are fields that were built elsewhere."""
        hints, values, misspelt = hints_of(cls), dict(given or {}), set()
        self.places[spot.at] = spot.node
        # A step may take any other key as well, and keep those in one field of its own.
        others: str | None = getattr(cls, "extra_options", None)
        for name, entry in entries.items():
            if name in hints and name not in values:
                named = name in getattr(cls, "label_fields", ())
                values[name] = self._field(hints[name], entry, spot.key(name), named)
            elif others is not None:
                values[others] = {**values.get(others, {}), name: plain(entry.value)}
            elif name not in values and name not in spot.also:
                values[name] = self._unknown(entry, spot, hints)
                misspelt.add(meant(name, hints))
        missing = [n for n in needed_of(cls) if n not in values and n not in misspelt]
        for name in missing:
            self.complain(spot.node, spot.key(name), f"'{spot.what}' needs this option")
        if missing or any(value is BROKEN for value in values.values()):
            return BROKEN
        try:
            self.built[spot.at] = cls(**values)
            return self.built[spot.at]
        except (ValueError, ArithmeticError) as error:
            return self._refused(str(error), spot, entries)

    def _unknown(self, entry: Entry, spot: Spot, hints: Mapping[str, Any]) -> _Broken:
        name = str(entry.key.value)
        message = f"no such option of '{spot.what}'{instead(name, [*hints, *spot.also])}"
        return self.complain(entry.key, spot.key(name), message)

    def _refused(self, message: str, spot: Spot, entries: Mapping[str, Entry]) -> _Broken:
        """At the option that the sentence begins with, else where the whole thing stands."""
        word = message.split(maxsplit=1)[0].strip("'\":,") if message else ""
        if word in entries:
            return self.complain(entries[word].value, spot.key(word), message)
        return self.complain(spot.node, spot.at, message)

    def _field(self, hint: Any, entry: Entry, at: str, of_labels: bool) -> Any:
        self.places[at] = entry.value
        value = self.value(hint, entry, at)
        if value is not BROKEN and of_labels and not self.labels_known(value, entry.value, at):
            value = BROKEN
        self.built[at] = value
        return value

    def value(self, hint: Any, entry: Entry, at: str) -> Any:
        """What a key says, as the annotation of its field has it."""
        node = entry.value
        bare, optional = without_none(hint)
        if optional and isinstance(node, Leaf) and node.value is None:
            return None
        room = steps_in(bare, at.rpartition(".")[2])
        if room is not None:
            return self.steps(room, node, at)
        if rooms.room_of(bare, "") == "models":
            return self._named("models", entry, at)
        if is_dataclass(bare) and isinstance(bare, type):
            return self.section(bare, node, at)
        single, mapped = without_section(hint)
        if mapped is not None and isinstance(node, Table):
            return self.section(mapped, node, at)
        try:
            return leaf(single, node)
        except UnfitError as error:
            return self.complain(error.node, at, str(error))

    def steps(self, room: str, node: Node, at: str) -> Any:
        """A list of steps from a room's table."""
        if not isinstance(node, Items):
            return self.complain(node, at, f"wants a list of steps, not {found(plain(node))}")
        steps = [self.step(room, item, f"{at}.{place}") for place, item in enumerate(node.items)]
        return BROKEN if any(step is BROKEN for step in steps) else tuple(steps)

    def step(self, room: str, item: Node, at: str) -> Any:
        """A step: its name alone, or its name and its options."""
        if isinstance(item, Table) and len(item.entries) == 1:
            ((name, entry),) = item.entries.items()
            key, options = entry.key, entry.value
        elif isinstance(item, Leaf) and isinstance(item.value, str):
            name, key, options = item.value, item, Leaf(item.source, item.line, item.column, None)
        else:
            message = f"wants a step's name, alone or with its options, not {found(plain(item))}"
            return self.complain(item, at, message)
        cls = self.tables(room).get(name)
        if cls is None:
            return self.complain(key, at, f"no such step of '{room}'{self._similar(name, room)}")
        if isinstance(options, Table):
            return self.made(cls, Spot(key, at, name), options.entries)
        if isinstance(options, Leaf) and options.value is None:
            return self.made(cls, Spot(key, at, name), {})
        message = f"'{name}' wants a mapping of options, not {found(plain(options))}"
        return self.complain(options, at, message)

    def _similar(self, name: str, room: str) -> str:
        """A step of that name in another room, or the nearest name in this one."""
        for other in (one for one in rooms.ROOMS if one != "models"):
            if other != room and name in self.tables(other):
                return f"; it belongs to '{other}'"
        return instead(name, self.tables(room))

    def _named(self, room: str, entry: Entry, at: str) -> Any:
        """A network: a mapping with its ``name`` and its options."""
        node, known = entry.value, self.tables(room)
        if isinstance(node, Leaf) and node.value in known:
            return self.made(known[str(node.value)], Spot(node, at, str(node.value)), {})
        if not isinstance(node, Table) or "name" not in node.entries:
            message = f"wants a name and options: {{name: {next(iter(known), '...')}, ...}}"
            return self.complain(entry.key if isinstance(node, Table) else node, at, message)
        name, options = node.entries["name"], dict(node.entries)
        chosen = plain(name.value)
        if not isinstance(chosen, str) or chosen not in known:
            message = f"no such network{instead(str(chosen), known)}"
            return self.complain(name.value, f"{at}.name", message)
        del options["name"]
        return self.made(known[chosen], Spot(name.value, at, chosen), options)

    def labels_known(self, value: Any, node: Node, at: str) -> bool:
        """Complain of labels that are not in the pipeline's table; whether all are known."""
        if self.label_names is None or value is None:
            return True
        named = [value] if isinstance(value, str) else list(value)
        if isinstance(value, Mapping):
            # A label may be mapped to another one, or to a number.
            named += [other for other in value.values() if isinstance(other, str)]
        unknown = [name for name in named if name not in self.label_names]
        for name in unknown:
            place = _item(node, name)
            message = f"no label is called '{name}'{instead(str(name), self.label_names)}"
            self.complain(place, at, message)
        return not unknown


def _item(node: Node, name: Any) -> Node:
    if isinstance(node, Table) and name in node.entries:
        return node.entries[name].key
    if isinstance(node, Items):
        return next((item for item in node.items if plain(item) == name), node)
    return node
