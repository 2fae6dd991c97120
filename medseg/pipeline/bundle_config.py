"""A MONAI bundle's config, read as text: references are looked up, and nothing is ever run.

What begins with ``$`` is Python's, and MONAI would run it; here whatever needs it is refused with
its place. So are references to other files, and classes that medseg has no word for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import ModelError
from medseg.pipeline.foreign import read_json
from medseg.pipeline.source import MAX_DEPTH, parse, plain, read_source

_ABOUT = {"_target_", "_desc_", "_requires_", "_disabled_", "_mode_"}
_MODES = (None, "default", "instantiate")


class Arguments(Mapping[str, Any]):
    """Arguments that are looked up when they are asked for: one that is not is not refused.

    Where a mask is saved, for one, is Python in most bundles, and nothing to medseg.
    """

    def __init__(self, said: Mapping[str, Any], look_up: Callable[[str], Any]) -> None:
        self._said, self._look_up = said, look_up

    def __getitem__(self, name: str) -> Any:
        if name not in self._said:
            raise KeyError(name)
        return self._look_up(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def but(self, *names: str) -> dict[str, Any]:
        """All arguments except those named, looked up. Raises ModelError as ``Config.value``."""
        return {name: self[name] for name in self if name not in names}


@dataclass(frozen=True)
class Part:
    """What a config wants made: a class by its bare name, its arguments, and where it stands."""

    target: str
    arguments: Arguments
    at: str


@dataclass(frozen=True)
class Config:
    """A config file as it stands."""

    said: Mapping[str, Any]
    path: Path

    @staticmethod
    def read(path: Path) -> Config:
        """The config of a JSON or YAML file. Raises ModelError E_UNSAFE where it imports."""
        config = Config(read_json(path) if path.suffix == ".json" else _read_yaml(path), path)
        for at, text in _texts(config.said, ""):
            if re.match(r"\s*\$\s*(import|from)\b", text):
                raise config.unsafe(at, text)
        return config

    def unsafe(self, at: str, found: str) -> ModelError:
        """The error for what MONAI would run."""
        told = f"{at}: {found[:200]!r} would be run by MONAI; medseg reads bundles and runs nothing"
        return ModelError(
            "E_UNSAFE", f"{told}; say it as a plain value, or leave it out", self.path
        )

    def foreign(self, at: str, told: str) -> ModelError:
        """The error for what medseg does not do."""
        return ModelError("E_FOREIGN_MODEL", f"{at}: {told}", self.path)

    def has(self, key: str) -> bool:
        """Whether there is such a key."""
        return key in self.said

    def value(self, key: str) -> Any:
        """A key's value: mappings with a ``_target_`` become Parts, references what they name.

        Raises ModelError: E_UNSAFE for ``$`` anywhere in it, E_FOREIGN_MODEL; for the arguments of
        a Part when they are asked for.
        """
        if key not in self.said:
            raise self.foreign(key, "is wanted and is not there")
        return self._resolved(self.said[key], key, ())

    def _resolved(self, value: Any, at: str, way: tuple[str, ...]) -> Any:
        if len(way) > MAX_DEPTH or at.count("::") > 2 * MAX_DEPTH:
            raise self.foreign(at, "refers to itself, or is nested too deep")
        if isinstance(value, str):
            return self._text(value, at, way)
        if isinstance(value, list | tuple):
            each = enumerate(value)
            found = [self._resolved(one, f"{at}::{place}", way) for place, one in each]
            return [one for one in found if one is not _NOTHING]
        if not isinstance(value, Mapping):
            return value
        if _is_off(value):
            return _NOTHING
        if isinstance(switch := value.get("_disabled_"), str) and switch.startswith(("$", "@")):
            raise self.unsafe(f"{at}::_disabled_", switch)
        own = {str(key): one for key, one in value.items() if key not in _ABOUT}
        if "_target_" not in value:
            inner = {key: self._resolved(one, f"{at}::{key}", way) for key, one in own.items()}
            return {key: one for key, one in inner.items() if one is not _NOTHING}
        if value.get("_mode_") not in _MODES:
            raise self.foreign(f"{at}::_mode_", "is 'default' here")

        def look_up(key: str) -> Any:
            return self._resolved(own[key], f"{at}::{key}", way)

        said = {key: one for key, one in own.items() if not _is_off(one)}
        return Part(self._class(value["_target_"], f"{at}::_target_"), Arguments(said, look_up), at)

    def _class(self, target: Any, at: str) -> str:
        """The bare name of a class of MONAI's own."""
        if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_][\w.]*", target):
            raise self.unsafe(at, str(target))
        module, _, name = target.rpartition(".")
        if module and not module.startswith("monai."):
            raise self.unsafe(at, target)
        return name

    def _text(self, text: str, at: str, way: tuple[str, ...]) -> Any:
        if text.startswith("$"):
            raise self.unsafe(at, text)
        if text.startswith("%"):
            raise self.foreign(at, f"{text!r} is a macro; write what it stands for")
        if not text.startswith("@"):
            return text
        found: Any = self.said
        words = re.split("::|#", text[1:])
        for word in words:
            if isinstance(found, Mapping) and word in found:
                found = found[word]
            elif isinstance(found, list | tuple) and word.isdecimal() and int(word) < len(found):
                found = found[int(word)]
            else:
                raise self.foreign(at, f"{text!r} leads nowhere")
        return self._resolved(found, "::".join(words), (*way, text))


def _read_yaml(path: Path) -> dict[str, Any]:
    root, complaints = parse(read_source(path))
    said = plain(root) if root is not None else None
    if complaints or not isinstance(said, dict):
        told = str(complaints[0]) if complaints else "is a mapping of keys"
        raise ModelError("E_FOREIGN_MODEL", told, path)
    return said


class _Nothing:
    """Stands for what a config has switched off."""


_NOTHING = _Nothing()


def _is_off(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("_disabled_") in (True, "true")


def _texts(value: Any, at: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text of a config, with its place."""
    if isinstance(value, str):
        yield at, value
    elif depth < 4 * MAX_DEPTH and isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(one, f"{at}::{key}" if at else str(key), depth + 1)
    elif depth < 4 * MAX_DEPTH and isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from _texts(one, f"{at}::{place}", depth + 1)
