"""Pixels of frames, unpacked by a process that has limits and nothing to lose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Timer
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.io.dicom.header import Header, Plane
from medseg.io.sizes import in_bytes

_WORKER = Path(__file__).with_name("worker.py")
_SYNTAXES = {
    "1.2.840.10008.1.2": "implicit VR",
    "1.2.840.10008.1.2.1": "explicit VR",
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.2": "big-endian",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE",
}
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_BASE_MEMORY = 2 << 30
_SECONDS, _SECONDS_A_FRAME = 60.0, 2.0
_PATIENCE = 5
"""How much longer than that the clock may run: on a busy machine a process waits for its turn."""
_NO_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Frame = NDArray[Any]


def check_pixels(header: Header) -> None:
    """Refuse what is not one number a pixel, in a form that is read.

    Raises StudyError E_DTYPE or E_DICOM_SYNTAX.
    """
    if header.samples != 1 or not header.photometric.startswith("MONOCHROME"):
        form = header.photometric if header.photometric.isalnum() else "colour"
        raise StudyError("E_DTYPE", f"holds {form} pixels, not one number a pixel", header.path)
    if header.bits not in (1, 8, 16, 32):
        raise StudyError("E_DTYPE", f"holds pixels of {header.bits} bits", header.path)
    if header.syntax not in _SYNTAXES:
        spelt = "".join(c for c in header.syntax if c in "0123456789.")[:64]
        raise StudyError(
            "E_DICOM_SYNTAX",
            f"its transfer syntax {spelt} is not read; have it written uncompressed",
            header.path,
        )


def check_size(header: Header) -> None:
    """Refuse a file that is too small for its uncompressed pixels, before room is made for them.

    Raises StudyError E_TRUNCATED.
    """
    if header.syntax not in _UNCOMPRESSED:
        return
    claimed = header.rows * header.columns * len(header.planes) * header.bits // 8
    there = header.path.stat().st_size
    if claimed > there:
        raise StudyError(
            "E_TRUNCATED",
            f"the header speaks of {in_bytes(claimed)} of pixels, the file holds"
            f" {in_bytes(there)}; copy it again",
            header.path,
        )


def dtype_of(header: Header) -> np.dtype[Any]:
    """The type that a file's pixels unpack to."""
    bits = max(8, header.bits)
    return np.dtype(f"<{'i' if header.signed else 'u'}{bits // 8}")


def frames_of(header: Header, planes: Sequence[Plane]) -> Iterator[Frame]:
    """The pixels (rows, columns) of each slice, as stored, in the order asked for.

    ``header`` gives the form of them all. Raises StudyError E_TRUNCATED, E_DICOM_SYNTAX,
    E_HEADER_INVALID, E_TOO_LARGE, E_TIMEOUT or E_WORKER_DIED with the file's name, E_NOT_FOUND
    or E_PERMISSION where it cannot be read, E_PERMISSION or E_DISK_FULL where there can be no
    temporary files and its form wants some.
    """
    dtype = dtype_of(header)
    size = header.rows * header.columns * dtype.itemsize
    seconds = _SECONDS + _SECONDS_A_FRAME * len(planes)
    largest = max((plane.path.stat().st_size for plane in planes if plane.path.exists()), default=0)
    order = {
        "frames": [[str(plane.path), plane.frame] for plane in planes],
        "rows": header.rows,
        "columns": header.columns,
        "dtype": dtype.str,
        "memory": _BASE_MEMORY + 16 * size + 4 * largest,
        "seconds": int(seconds),
    }
    clock = _PATIENCE * seconds
    with _scratch() as folder, _started(order | {"folder": folder}, clock) as (output, late):
        for plane in planes:
            mark = output.read(1)
            if mark == b"\1":
                code, _, told = output.readline(500).decode("ascii", "replace").partition(" ")
                raise StudyError(code, told.strip(), plane.path)
            frame = np.empty((header.rows, header.columns), dtype)
            if mark != b"\0" or output.readinto(frame.reshape(-1).view(np.uint8).data) < size:
                raise _died(plane.path, late.is_set(), clock)
            yield frame


@contextmanager
def _scratch() -> Iterator[str | None]:
    """A folder for temporary files, which no end of the process outlives; None without one."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        except OSError:
            folder = None  # most forms of pixels do not need it
        yield folder


@contextmanager
def _started(order: dict[str, Any], seconds: float) -> Iterator[tuple[Any, Event]]:
    """The process at work, its answers, and whether its time was up; it is ended at the end."""
    late = Event()
    process = subprocess.Popen(
        [sys.executable, "-P", str(_WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_NO_THREADS},
    )

    def stop() -> None:
        late.set()
        process.kill()

    timer = Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        _tell(process.stdin, order)
        yield process.stdout, late
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _tell(pipe: IO[bytes], order: dict[str, Any]) -> None:
    try:
        with pipe:
            pipe.write(json.dumps(order).encode())
    except BrokenPipeError:
        pass  # it died at once, which its answers will show


def _died(path: Path, late: bool, seconds: float) -> StudyError:
    if late:
        return StudyError("E_TIMEOUT", f"its pixels took more than {seconds:.0f} s", path)
    return StudyError("E_WORKER_DIED", "the process that unpacks its pixels ended early", path)
