"""Datasets without their pixels; deflated ones are inflated within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from medseg.errors import StudyError
from medseg.io.dicom.package import pydicom, quiet
from medseg.io.dicom.values import text_of

_DEFLATED = "1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 1 << 30


def read_dataset(path: Path, tags: Iterable[Any] | None = None) -> Any:
    """A file's dataset without its pixels, of ``tags`` alone where they are given.

    Raises StudyError E_TRUNCATED, E_NOT_AN_IMAGE, E_PERMISSION or E_NOT_FOUND; none of them
    quotes what the file says.
    """
    reader = pydicom()
    wanted = None if tags is None else list(tags)
    try:
        with quiet():
            return reader.dcmread(
                _bounded(path), stop_before_pixels=True, force=True, specific_tags=wanted
            )
    except FileNotFoundError:
        raise StudyError("E_NOT_FOUND", "is not there", path) from None
    except PermissionError:
        raise StudyError("E_PERMISSION", "may not be read", path) from None
    except EOFError:
        raise StudyError("E_TRUNCATED", "ends within its header; copy it again", path) from None
    except MemoryError:
        raise
    except Exception:
        raise StudyError("E_NOT_AN_IMAGE", "its DICOM header cannot be read", path) from None


def _bounded(path: Path) -> Any:
    """What to read from: the file, or, of a deflated one, as much as memory is given for."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return path
    with quiet():
        meta = pydicom().filereader.read_file_meta_info(path)
    if text_of(meta, "TransferSyntaxUID") != _DEFLATED:
        return path
    data = path.read_bytes()
    begins = _after_meta(data)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(data[begins:], _MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError("inflates without end")
    packed = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
    return BytesIO(data[:begins] + packed.compress(body) + packed.flush())


def _after_meta(data: bytes) -> int:
    """Where the file meta information ends: its first element says how long it is."""
    length = int.from_bytes(data[140:144], "little")
    return 144 + length
