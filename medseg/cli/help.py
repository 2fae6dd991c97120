"""Steps and networks explained from their own fields and docstrings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, cast

import click

from medseg.cli.tables import aligned
from medseg.errors import ModelError
from medseg.models import Network
from medseg.models.network import Dims
from medseg.pipeline import rooms
from medseg.pipeline.builder import hints_of, steps_in
from medseg.pipeline.leaves import wanted, without_none
from medseg.pipeline.schema import docstring
from medseg.pipeline.words import instead

ROOMS = [room for room in rooms.ROOMS if room != "models"]


def tell_rooms(name: str | None) -> None:
    """The steps of one room or of all, a line each."""
    for place, room in enumerate(ROOMS if name is None else [name]):
        if place:
            click.echo()
        click.echo(f"{room}:")
        _tell_table(rooms.table(room))


def tell_step(name: str) -> None:
    """Explain a step. Raises UsageError for unknown names."""
    homes = [room for room in ROOMS if name in rooms.table(room)]
    for room in homes:
        _tell(rooms.table(room)[name], name, room)
    if not homes:
        known = [*ROOMS, *(step for room in ROOMS for step in rooms.table(room))]
        raise click.UsageError(f"no step or room is called '{name}'{instead(name, known)}")


def tell_models(name: str | None) -> None:
    """The networks with what they are good for, or one with its options."""
    table = rooms.table("models")
    if name is None:
        for known, cls in table.items():
            click.echo(f"{known}: {_sizes(cls)}")
            click.echo(f"    {_first(cls)}")
            click.echo(f"    For {cls.good_for}.")
            click.echo(f"    {cls.paper}")
        click.echo("\nParameters for one channel and two labels, with the options' defaults.")
        return
    if name not in table:
        raise click.UsageError(f"no network is called '{name}'{instead(name, table)}")
    cls = table[name]
    _tell(cls, name, "models")
    click.echo(f"\nFor {cls.good_for}.\n{_sizes(cls)}.\n{cls.paper}")


def _sizes(cls: type[Network]) -> str:
    """Parameters in 2D and 3D; only the dimensions where the network is of an extra."""
    try:
        counts = [(dim, cls(spatial_dims=cast(Dims, dim)).parameters() / 1e6) for dim in cls.dims]
    except ModelError as error:
        return f"{' and '.join(f'{dim}D' for dim in cls.dims)}; {error.message}"
    return ", ".join(f"{dim}D {millions:.2f} M" for dim, millions in counts)


def _tell_table(table: Mapping[str, type[Any]]) -> None:
    for line in aligned([("", ""), *((f"  {name}", _first(cls)) for name, cls in table.items())])[
        1:
    ]:
        click.echo(line)


def _first(cls: type[Any]) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(docstring(cls).partition("\n\n")[0].split())
    end = paragraph.find(". ")
    return _told(paragraph if end < 0 else paragraph[: end + 1])


def _told(text: str) -> str:
    """Docstrings mark code for programs; people read quotes."""
    return text.replace("``", "'")


def _tell(cls: type[Any], name: str, room: str) -> None:
    click.echo(f"{name} ({room})\n\n{_told(docstring(cls))}\n")
    rows = [
        (f"  {one.name}", _default(one), _type(cls, one.name)) for one in fields(cls) if one.init
    ]
    for line in aligned([("  option", "default", ""), *rows]) if rows else ["  no options"]:
        click.echo(line)


def _type(cls: type[Any], name: str) -> str:
    hint = hints_of(cls)[name]
    room = steps_in(hint, name)
    if room is not None:
        return f"a list of steps of {room}"
    return "a network" if rooms.room_of(without_none(hint)[0], "") == "models" else wanted(hint)


def _default(one: Any) -> str:
    if one.default is MISSING and one.default_factory is MISSING:
        return "needed"
    value = one.default if one.default is not MISSING else one.default_factory()
    return "-" if value is None else json.dumps(value, default=str)
