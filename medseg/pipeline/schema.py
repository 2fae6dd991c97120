"""The JSON schema of a pipeline file, for editors; built from the very same dataclasses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from pydantic import PydanticUserError

from medseg.pipeline import rooms
from medseg.pipeline.builder import hints_of, needed_of, steps_in
from medseg.pipeline.leaves import json_schema as leaf_schema
from medseg.pipeline.leaves import without_none, without_section
from medseg.pipeline.parts import Pipeline

Schema = dict[str, Any]
_VALUE: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_VALUES: Schema = {"type": "array", "items": _VALUE, "minItems": 1}


def json_schema() -> Schema:
    """The JSON schema (draft 2020-12) of a pipeline file, with docstrings as descriptions."""
    schema = _section(Pipeline)
    schema["properties"]["labels"] = _labels()
    schema["properties"]["ignore"] = {**_VALUE, "description": "Says nothing in references."}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "medseg pipeline"}
    return {**head, **schema, "$defs": {room: _room(room) for room in rooms.ROOMS}}


def docstring(cls: type[Any]) -> str:
    """What a class says of itself; empty where it says nothing of its own."""
    own = cls.__dict__.get("__doc__") or ""
    return "" if own.startswith(f"{cls.__name__}(") else inspect.cleandoc(own)


def _labels() -> Schema:
    more = {
        "colour": {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
        "code": {"type": "string"},
    }
    long = {
        "type": "object",
        "properties": {"value": _VALUE, "values": _VALUES, **more},
        "oneOf": [{"required": ["value"]}, {"required": ["values"]}],
        "additionalProperties": False,
    }
    return {
        "description": "Names of structures and their values in masks.",
        "type": "object",
        "additionalProperties": {"anyOf": [_VALUE, _VALUES, long]},
        "minProperties": 1,
    }


def _section(cls: type[Any], extra: Mapping[str, Schema] | None = None) -> Schema:
    hints = hints_of(cls)
    properties = {
        one.name: _property(one, hints[one.name])
        for one in fields(cls)
        if one.init and not (cls is Pipeline and one.name == "labels")
    }
    needed = [*(extra or {}), *needed_of(cls)]
    described = {"description": text} if (text := docstring(cls)) else {}
    return {
        **described,
        "type": "object",
        "properties": {**(extra or {}), **properties},
        **({"required": needed} if needed else {}),
        "additionalProperties": bool(getattr(cls, "extra_options", None)),
    }


def _property(one: Field[Any], hint: Any) -> Schema:
    schema = _value(hint, one.name)
    plain = isinstance(one.default, bool | int | float | str)
    return {**schema, "default": one.default} if one.default is not MISSING and plain else schema


def _value(hint: Any, name: str) -> Schema:
    bare, optional = without_none(hint)
    room = steps_in(bare, name)
    if room is not None:
        schema: Schema = {"type": "array", "items": {"$ref": f"#/$defs/{room}"}}
    elif rooms.room_of(bare, "") == "models":
        schema = {"$ref": "#/$defs/models"}
    elif is_dataclass(bare) and isinstance(bare, type):
        schema = _section(bare)
    else:
        single, mapped = without_section(hint)
        schema = _leaf(single)
        if mapped is None:
            return schema
        return {"anyOf": [*schema.get("anyOf", [schema]), _section(mapped)]}
    return {"anyOf": [schema, {"type": "null"}]} if optional else schema


def _leaf(hint: Any) -> Schema:
    try:
        return leaf_schema(hint)
    except PydanticUserError:
        return {}  # a type of another package that has no schema: anything goes


def _room(room: str) -> Schema:
    table = rooms.table(room)
    if room == "models":
        named = [_section(cls, {"name": {"const": name}}) for name, cls in table.items()]
        return {"anyOf": [{"enum": _bare(table)}, *named]}
    steps = {name: _section(cls) for name, cls in table.items()}
    with_options = {
        "type": "object",
        "properties": {
            name: step if step.get("required") else {**step, "type": ["object", "null"]}
            for name, step in steps.items()
        },
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": _bare(table)}, with_options]}


def _bare(table: Mapping[str, type[Any]]) -> list[str]:
    return [name for name, cls in table.items() if not needed_of(cls)]
