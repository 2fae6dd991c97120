"""Arrays in compressed blocks, mapped into memory: a patch unpacks the blocks that it meets.

Bytes of equal weight lie together within a block before it is deflated, as in Blosc (Alted 2010,
doi:10.1109/MCSE.2010.51): exponents of neighbours are alike where their last digits are noise.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"medseg packed 1\n"
_SIDE = 32
"""Voxels along an edge of a block."""
_LEVEL = 1


def packed(data: NDArray[Any]) -> bytes:
    """The bytes of an array (..., X, Y, Z); axes before the last three are blocks of their own."""
    from isal import isal_zlib

    parts: list[bytes] = []
    ends = [0]
    for place in _blocks(data.shape):
        block = np.ascontiguousarray(data[place])
        shuffled = block.reshape(-1).view(np.uint8).reshape(-1, data.itemsize).T
        parts.append(isal_zlib.compress(shuffled.tobytes(), _LEVEL, -15))
        ends.append(ends[-1] + len(parts[-1]))
    said = {"shape": data.shape, "dtype": data.dtype.str, "side": _SIDE, "ends": ends}
    head = json.dumps(said, separators=(",", ":")).encode()
    return b"".join([_MAGIC, len(head).to_bytes(8, "little"), head, *parts])


class Packed:
    """A packed file as an array that is read by slices, which step by 1."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._map[: len(_MAGIC)] != _MAGIC:
            raise ValueError(f"{path} is no packed array")
        begin = len(_MAGIC) + 8
        size = int.from_bytes(self._map[len(_MAGIC) : begin], "little")
        said = json.loads(self._map[begin : begin + size])
        self.shape: tuple[int, ...] = tuple(said["shape"])
        self.dtype = np.dtype(said["dtype"])
        self._side, self._ends, self._first = said["side"], said["ends"], begin + size

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole of it."""
        del copy
        return self[tuple(slice(None) for _ in self.shape)].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, asked: tuple[slice, ...]) -> NDArray[Any]:
        """The voxels between ``asked``, one slice for each axis."""
        bounds = [one.indices(n)[:2] for one, n in zip(asked, self.shape, strict=True)]
        out = np.empty([max(0, stop - start) for start, stop in bounds], self.dtype)
        if not out.size:
            return out
        for number, place in self._meeting(bounds):
            block = self._block(number, [one.stop - one.start for one in place])
            into, of = [], []
            for one, (start, stop) in zip(place, bounds, strict=True):
                low, high = max(one.start, start), min(one.stop, stop)
                into.append(slice(low - start, high - start))
                of.append(slice(low - one.start, high - one.start))
            out[tuple(into)] = block[tuple(of)]
        return out

    def _meeting(
        self, bounds: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """Numbers and places of the blocks that hold some of what lies between ``bounds``."""
        sides = _sides(self.shape, self._side)
        counts = [-(-n // side) for n, side in zip(self.shape, sides, strict=True)]
        ranges = [
            range(start // side, -(-stop // side))
            for (start, stop), side in zip(bounds, sides, strict=True)
        ]
        for index in product(*ranges):
            number = int(np.ravel_multi_index(index, counts))
            yield number, _place(index, sides, self.shape)

    def _block(self, number: int, sides: Sequence[int]) -> NDArray[Any]:
        from isal import isal_zlib

        first, last = (self._first + self._ends[number + n] for n in (0, 1))
        size = prod(sides) * self.dtype.itemsize
        raw = isal_zlib.decompress(self._map[first:last], -15, size)
        shuffled = np.frombuffer(raw, np.uint8).reshape(self.dtype.itemsize, -1)
        block: NDArray[Any] = np.ascontiguousarray(shuffled.T).view(self.dtype).reshape(sides)
        return block


def _sides(shape: Sequence[int], side: int) -> list[int]:
    return [1] * (len(shape) - 3) + [side] * 3


def _blocks(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    sides = _sides(shape, _SIDE)
    counts = [range(-(-n // side)) for n, side in zip(shape, sides, strict=True)]
    for index in product(*counts):
        yield _place(index, sides, shape)


def _place(index: Sequence[int], sides: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        slice(n * side, min((n + 1) * side, length))
        for n, side, length in zip(index, sides, shape, strict=True)
    )
