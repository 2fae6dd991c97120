"""Records held in little memory, for runs of any number of studies."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any


class Packed(Mapping[str, Any]):
    """A record as packed JSON: what it has in common with the record ``like`` costs nothing.

    It is unpacked whenever it is looked at; ``dict`` of it is the record, as a file has it.
    """

    __slots__ = ("_data", "_like")

    def __init__(self, record: Mapping[str, Any], like: bytes) -> None:
        packer = zlib.compressobj(9, zdict=like)
        self._data = packer.compress(as_json(record)) + packer.flush()
        self._like = like

    def whole(self) -> dict[str, Any]:
        """The record."""
        found: dict[str, Any] = json.loads(
            zlib.decompressobj(zdict=self._like).decompress(self._data)
        )
        return found

    def __getitem__(self, key: str) -> Any:
        return self.whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())

    def __repr__(self) -> str:
        return repr(self.whole())


def as_json(record: Mapping[str, Any]) -> bytes:
    """A record's bytes, to be packed or for others to be packed like it."""
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode()


def unpacked(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record, packed or not, as a dict."""
    return record.whole() if isinstance(record, Packed) else dict(record)
