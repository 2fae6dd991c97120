"""The JSON schema for editors, built from the same dataclasses."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import pytest

from medseg.pipeline import Pipeline, json_schema, rooms
from medseg.pipeline.builder import hints_of, needed_of
from medseg.pipeline.leaves import wanted
from medseg.pipeline.schema import docstring
from medseg.step import Step


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_the_schema_is_json(schema: dict[str, Any]) -> None:
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema


def test_keys_of_a_pipeline_are_its_fields(schema: dict[str, Any]) -> None:
    assert set(schema["properties"]) == {one.name for one in fields(Pipeline)} | {"ignore"}
    assert set(schema["required"]) == {"name", "labels", "inference"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("room", [room for room in rooms.ROOMS if room != "models"])
def test_every_step_stands_there_with_its_options(schema: dict[str, Any], room: str) -> None:
    bare, with_options = schema["$defs"][room]["anyOf"]
    table = rooms.table(room)
    assert set(with_options["properties"]) == set(table)
    for name, cls in table.items():
        step = with_options["properties"][name]
        assert set(step["properties"]) == set(hints_of(cls))
        assert step.get("required", []) == needed_of(cls)
        assert step["description"] == docstring(cls)
        assert (name in bare["enum"]) == (not needed_of(cls))


def test_networks_are_told_apart_by_their_name(schema: dict[str, Any]) -> None:
    _, *networks = schema["$defs"]["models"]["anyOf"]
    assert [one["properties"]["name"]["const"] for one in networks] == list(rooms.table("models"))
    assert all(one["required"][0] == "name" for one in networks)


def test_types_are_those_that_the_file_may_use(schema: dict[str, Any]) -> None:
    window = schema["$defs"]["inference"]["anyOf"][1]["properties"]["sliding_window"]["properties"]
    assert window["overlap"] == {"type": "number", "default": 0.5}
    assert window["model"] == {"$ref": "#/$defs/models"}
    assert window["window"]["maxItems"] == 3
    assert window["blending"]["enum"] == ["gaussian", "constant", "nnunet"]
    assert {"type": "null"} in window["weights"]["anyOf"]
    augmentation = schema["properties"]["training"]["anyOf"][0]["properties"]["augmentation"]
    assert augmentation["items"] == {"$ref": "#/$defs/augmentation"}


def test_a_step_that_takes_any_option_says_so(schema: dict[str, Any]) -> None:
    steps = schema["$defs"]["preprocess"]["anyOf"][1]["properties"]
    assert steps["monai"]["additionalProperties"] is True
    assert steps["spacing"]["additionalProperties"] is False


def test_every_option_of_every_step_has_a_type_in_words() -> None:
    for room in rooms.ROOMS:
        for name, cls in rooms.table(room).items():
            for option, hint in hints_of(cls).items():
                if "model" not in option and option not in cls.__dict__.get("extra_options", ""):
                    assert wanted(hint) != "a value", (room, name, option)


def test_a_docstring_made_by_the_machine_is_none() -> None:
    @dataclass(frozen=True)
    class Bare(Step):
        side: int = 3

    assert docstring(Bare) == ""
