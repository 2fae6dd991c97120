"""A step is its options: a frozen dataclass whose call does the work.

The fields are the YAML keys, the annotations are the schema, ``__post_init__`` refuses
impossible values with a ``ValueError``, and the docstring is the help of ``medseg steps``.
A room lists its steps in one literal dict; other packages add theirs by an entry point
(``medseg.preprocess = mypackage:MyStep``).
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

Flowing = TypeVar("Flowing")


class Step:
    """Base of every step; subclasses are frozen dataclasses with a ``__call__``."""

    # Which fields hold names of labels, so that a pipeline's are checked before work begins.
    label_fields: ClassVar[tuple[str, ...]] = ()
    # The field that takes all options which are no field, as the ``monai`` step's arguments.
    extra_options: ClassVar[str | None] = None
    # Read by pydantic when a YAML mapping becomes a step: an unknown key is a mistake.
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **options: Any) -> Any:
            """Each room has a call of its own: what its steps take and give."""


def through(steps: Iterable[Any], thing: Flowing) -> Flowing:
    """Hand ``thing`` from step to step and return what comes out of the last."""
    for step in steps:
        thing = step(thing)
    return thing


@cache
def _announced() -> Any:
    # Every installed package is looked through for this, so it is done once for all rooms.
    return entry_points()


@cache
def _from_outside(room: str) -> dict[str, type[Any]]:
    return {point.name: point.load() for point in _announced().select(group=f"medseg.{room}")}


class Places(Mapping[str, type[Any]]):
    """A room's names and where their classes are, ``module:Class``; imported when asked for."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[Any]:
        module, _, attribute = self._places[name].partition(":")
        found: type[Any] = getattr(import_module(module), attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def steps_of(room: str, table: Mapping[str, type[Any]]) -> Mapping[str, type[Any]]:
    """The room's own steps and those that installed packages add to it; its own win."""
    outside = _from_outside(room)
    # ChainMap only reads; its type asks for more than that.
    return ChainMap(table, outside) if outside else table  # type: ignore[arg-type]
