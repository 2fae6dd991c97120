"""Voxels from the stream: to float32 for scans, as they are for labels.

A scan is read in one pass, a few slices at a time: unpacked, converted, and looked at while
they are still in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.io.described import Described
from medseg.io.image_file import ImageFile, ends_after
from medseg.io.inspection import Rows, Slices, filled, inspected

_BLOCK = 1 << 19
"""Bytes handled at a time: they fit the second-level cache."""


def read_float(image: ImageFile, fill_nonfinite: bool) -> tuple[Rows, tuple[Caution, ...]]:
    """The voxels (T, X, Y, Z) float32, scaled as the header says, x fastest in memory.

    Raises StudyError E_TRUNCATED, E_CORRUPT_GZIP or E_NONFINITE.
    """
    what = image.what
    slices = _streamed(image)
    cautions: tuple[Caution, ...] = ()
    if not (np.isfinite(slices.lows).all() and np.isfinite(slices.highs).all()):
        slices, cautions = filled(slices, what.frames, fill_nonfinite)
    cautions += inspected(slices, what.frames)
    x, y, z, t = what.frames
    return slices.rows.reshape(t, z, y, x).transpose(0, 3, 2, 1), cautions


def read_exact(image: ImageFile) -> NDArray[Any]:
    """The voxels (X, Y, Z) of the first frame in the file's own type, or float64 if scaled.

    Raises StudyError E_TRUNCATED or E_CORRUPT_GZIP.
    """
    what = image.what
    x, y, z, t = what.frames
    data = np.empty((t * z, y, x), what.dtype)
    _fill(image, data)
    if not what.dtype.isnative:
        data = data.byteswap(inplace=True).view(what.dtype.newbyteorder("="))
    if (what.slope, what.inter) != (1.0, 0.0):
        data = data * what.slope + what.inter
    return data[:z].transpose(2, 1, 0)


def _streamed(image: ImageFile) -> Slices:
    what = image.what
    x, y, z, t = what.frames
    rows = np.empty((t * z, y * x), np.float32)
    lows, highs = np.empty(t * z, np.float32), np.empty(t * z, np.float32)
    step = max(1, _BLOCK // (y * x * what.dtype.itemsize))
    direct = what.dtype == np.float32 and what.dtype.isnative
    buffer = np.empty((0 if direct else min(step, t * z), y * x), what.dtype)
    # What does not fit float32 becomes infinite, which is found by its extremes.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, t * z, step):
            block = rows[start : start + step]
            raw = block if direct else buffer[: len(block)]
            _fill(image, raw)
            _convert(raw, what, block)
            block.min(axis=1, out=lows[start : start + step])
            block.max(axis=1, out=highs[start : start + step])
    return Slices(rows, lows, highs)


def _fill(image: ImageFile, into: NDArray[Any]) -> None:
    got = image.stream.fill(into.reshape(-1).view(np.uint8).data)
    if got < into.nbytes:
        wanted = image.begins + image.what.bytes
        raise StudyError("E_TRUNCATED", ends_after(image.stream.position, wanted))


def _convert(raw: NDArray[Any], what: Described, block: Rows) -> None:
    """Scale in float64 where there is a scale, so that float32 rounds only once."""
    if (what.slope, what.inter) != (1.0, 0.0):
        scaled = np.multiply(raw, what.slope, dtype=np.float64)
        scaled += what.inter
        block[...] = scaled
    elif raw is not block:
        block[...] = raw
