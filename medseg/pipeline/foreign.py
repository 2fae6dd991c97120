"""Descriptions that other projects wrote in JSON: read with care, refused with file and key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import ModelError

_MOST_BYTES = 64 << 20


def read_json(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds. Raises ModelError E_FOREIGN_MODEL."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError("E_FOREIGN_MODEL", "is larger than a description can be", path)
        said = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError("E_FOREIGN_MODEL", f"cannot be read ({error.strerror})", path) from error
    except (ValueError, RecursionError) as error:
        raise ModelError("E_FOREIGN_MODEL", f"is not JSON ({error})", path) from None
    if not isinstance(said, dict):
        raise ModelError("E_FOREIGN_MODEL", "is a mapping of keys", path)
    return said


@dataclass(frozen=True)
class Foreign:
    """A mapping of a file, and where in the file it stands."""

    said: Mapping[str, Any]
    path: Path
    at: str = ""

    def _key(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key

    def refused(self, key: str, wanted: str) -> ModelError:
        """The error for a key that is not as it is wanted."""
        found: Any = self.said
        for word in key.split("."):
            found = found.get(word) if isinstance(found, Mapping) else None
        told = f"{self._key(key)} {wanted}; found {json.dumps(found)[:200]}"
        return ModelError("E_FOREIGN_MODEL", told, self.path)

    def has(self, key: str) -> bool:
        """Whether there is such a key."""
        return key in self.said

    def get(self, key: str, default: Any = None) -> Any:
        """What a key says, or the default."""
        return self.said.get(key, default)

    def mapping(self, key: str) -> dict[str, Any]:
        """A key's mapping. Raises ModelError where it is none."""
        found = self.said.get(key)
        if not isinstance(found, dict):
            raise self.refused(key, "is a mapping")
        return found

    def inner(self, key: str) -> Foreign:
        """A key's mapping, with its place."""
        return Foreign(self.mapping(key), self.path, self._key(key))

    def listed(self, key: str) -> list[Any]:
        """A key's list. Raises ModelError where it is none."""
        found = self.said.get(key)
        if not isinstance(found, list):
            raise self.refused(key, "is a list")
        return found

    def text(self, key: str) -> str:
        """A key's text. Raises ModelError where it is none."""
        found = self.said.get(key)
        if not isinstance(found, str):
            raise self.refused(key, "is a text")
        return found

    def one_of(self, key: str, *allowed: Any, default: Any = None) -> Any:
        """What a key says, which is one of a few things. Raises ModelError for others."""
        found = self.said.get(key, default)
        if found not in allowed:
            raise self.refused(key, f"is {' or '.join(map(json.dumps, allowed))} here")
        return found
