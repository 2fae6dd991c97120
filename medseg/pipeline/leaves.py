"""Single options: from what the YAML says to a value of the field's type, strictly.

Whole numbers are numbers too, but true is never 1 and a text never a number. Lists become
tuples; relative paths start at the folder of the text they stand in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError, ValidationInfo

from medseg.pipeline.source import Items, Node, plain
from medseg.pipeline.words import instead, listed

UNIONS = (Union, UnionType)
_COUNTED = ("no", "one", "two", "three", "four", "five", "six")
_SINGLE: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "(true or false)"),
    Path: ("a path", "paths"),
    NoneType: ("nothing", "nothings"),
}


class UnfitError(Exception):
    """A value that is not of its option's type: what is wrong, and where it stands."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node = node


def leaf(hint: Any, node: Node) -> Any:
    """The value of an option; UnfitError says what was wanted and what was found."""
    value = plain(node)
    try:
        return _adapter(hint).validate_python(
            value, strict=True, context={"folder": node.source.folder}
        )
    except ValidationError as error:
        raise UnfitError(_culprit(node, error), _message(hint, value, error)) from None


def _culprit(node: Node, error: ValidationError) -> Node:
    """The only item of a list that does not fit, else the whole node."""
    places = {e["loc"][0] for e in error.errors(include_url=False) if e["loc"]}
    place = places.pop() if len(places) == 1 else None
    if isinstance(node, Items) and isinstance(place, int) and place < len(node.items):
        return node.items[place]
    return node


def json_schema(hint: Any) -> dict[str, Any]:
    """The JSON schema of an option's type."""
    return _adapter(hint).json_schema()


def wanted(hint: Any) -> str:
    """A field's type in words: ``three numbers``, ``a text or nothing``."""
    return " or ".join(dict.fromkeys(_said(one) for one in _branches(hint)))


def without_none(hint: Any) -> tuple[Any, bool]:
    """The hint without its ``None``, and whether it had one."""
    if get_origin(hint) not in UNIONS or NoneType not in get_args(hint):
        return hint, False
    rest = tuple(part for part in get_args(hint) if part is not NoneType)
    return (rest[0] if len(rest) == 1 else Union[rest]), True  # noqa: UP007


def without_section(hint: Any) -> tuple[Any, type[Any] | None]:
    """The hint without the dataclass that may stand in its place, and that dataclass."""
    if get_origin(hint) not in UNIONS:
        return hint, None
    sections: list[Any] = [part for part in get_args(hint) if is_dataclass(part)]
    if not sections:
        return hint, None
    rest = tuple(part for part in get_args(hint) if part not in sections)
    left: Any = rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007
    return left, sections[0]


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_strictly(hint), config=ConfigDict(arbitrary_types_allowed=True))


def _strictly(hint: Any) -> Any:
    """The hint with what pydantic's strict mode leaves open decided."""
    if hint is Path:
        return Annotated[Path, BeforeValidator(_path)]
    if hint is float:
        return Annotated[float, BeforeValidator(_finite)]
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Annotated[hint, BeforeValidator(lambda value: _exactly(value, choices))]
    parts = get_args(hint)
    if not parts:
        return hint
    if get_origin(hint) in UNIONS:
        return Union[tuple(map(_strictly, parts))]  # noqa: UP007
    if get_origin(hint) is Annotated:
        return Annotated[_strictly(parts[0]), *parts[1:]]
    if get_origin(hint) in (tuple, Sequence, Mapping, dict):
        inner = tuple(part if part is ... else _strictly(part) for part in parts)
        return get_origin(hint)[inner]
    return hint


def _path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path is a text")
    folder: Path = (info.context or {}).get("folder", Path())
    return Path(os.path.normpath(folder / Path(value).expanduser()))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("a finite number")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**1000:
        raise ValueError("a number of a sensible size")
    return value


def _exactly(value: Any, choices: Sequence[Any]) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError("one of the choices")
    return value


def _branches(hint: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return _branches(get_args(hint)[0])
    if get_origin(hint) in UNIONS:
        branches = [one for part in get_args(hint) for one in _branches(part)]
        return sorted(branches, key=lambda one: one is NoneType)
    return [hint]


def _said(hint: Any) -> str:
    if hint in _SINGLE:
        return _SINGLE[hint][0]
    if is_dataclass(hint):
        return f"a mapping of {' and '.join(one.name for one in fields(hint))}"
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return listed(parts) if all(isinstance(p, str) for p in parts) else _numbers(parts)
    if origin is tuple and parts[-1] is not ... and len(set(parts)) == 1:
        count = _COUNTED[len(parts)] if len(parts) < len(_COUNTED) else str(len(parts))
        return f"{count} {_several(parts[0])}"
    if origin is tuple and parts[-1] is not ...:
        return f"a list of {', then '.join(wanted(part) for part in parts)}"
    if origin in (tuple, list, Sequence) or (origin and issubclass(origin, Sequence)):
        return f"a list of {_several(parts[0])}"
    if origin and issubclass(origin, Mapping):
        return f"a mapping to {_several(parts[1])}"
    return "a value"


def _several(hint: Any) -> str:
    one = _branches(hint)
    if len(one) == 1 and one[0] in _SINGLE:
        return _SINGLE[one[0]][1]
    text = wanted(hint)
    return f"({text})" if " or " in text else text


def _numbers(choices: Sequence[Any]) -> str:
    texts = [str(choice) for choice in choices]
    return f"{', '.join(texts[:-1])} or {texts[-1]}" if len(texts) > 1 else texts[0]


def _message(hint: Any, value: Any, error: ValidationError) -> str:
    text = f"wants {wanted(hint)}, not {found(value)}"
    if isinstance(value, str):
        words = [c for one in _branches(hint) for c in get_args(one) if isinstance(c, str)]
        close = instead(value, words) if get_origin(_branches(hint)[0]) is Literal else ""
        if bool in _branches(hint) and value.lower() in _MEANT:
            # Text in YAML 1.2, whatever older readers made of it.
            close = f"; write {_MEANT[value.lower()]}"
        return text + close if "there is" not in close else text
    own = [e for e in error.errors(include_url=False) if e["type"] in _BOUNDS]
    return f"{text}: {own[0]['msg'].lower()}" if own else text


_MEANT = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of")


def found(value: Any) -> str:
    """What a YAML file said, short and on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        inner = ", ".join(found(item) for item in value[:6])
        return f"[{inner}{', ...' if len(value) > 6 else ''}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: ..." for key in list(value)[:3])
        return f"{{{inner}}}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
