"""The rooms' tables by name, each imported when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from medseg.models import Network
from medseg.step import Step, steps_of
from medseg.training import Augmentation

ROOMS = {
    "preprocess": "medseg.preprocess",
    "inference": "medseg.inference",
    "refine": "medseg.inference",
    "postprocess": "medseg.postprocess",
    "metrics": "medseg.metrics",
    "augmentation": "medseg.training",
    "models": "medseg.models",
}
"""Each room and the module that holds its table; the table's name is the room's, in capitals."""


@cache
def table(room: str) -> Mapping[str, type[Any]]:
    """Every step of a room by its name, those of other installed packages too."""
    return steps_of(room, getattr(import_module(ROOMS[room]), room.upper()))


def room_of(base: Any, field: str) -> str | None:
    """The room that a field's steps come from, by the class they must have; or None."""
    if not isinstance(base, type) or not issubclass(base, Step):
        return None
    if issubclass(base, Network):
        return "models"
    if issubclass(base, Augmentation):
        return "augmentation"
    return field if base is Step else None


@cache
def names() -> dict[type[Any], str]:
    """What each step is called in its room; networks bear their names themselves."""
    rooms = [room for room in ROOMS if room != "models"]
    return {step: name for room in rooms for name, step in table(room).items()}
