"""The output folder: ours alone while we write, and able to take what we write."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import OutputError
from medseg.io import remove_leftovers

LOCK = ".medseg.lock"


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make the folder, try it, and keep other runs out until the end.

    Raises OutputError: E_PERMISSION where nothing can be written, E_LOCKED where another run
    is at work. The lock is the system's own, so a killed run leaves none behind.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise OutputError("E_PERMISSION", f"cannot be written to ({error.strerror})", folder) from (
            error
        )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode(errors="replace").strip()
            raise OutputError(
                "E_LOCKED", f"another run is writing here ({owner}); wait for it", folder
            ) from None
        os.ftruncate(descriptor, 0)
        remove_leftovers(folder)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield folder
    finally:
        os.close(descriptor)


def inside(folder: Path, path: Path) -> Path:
    """``path``, once it is sure that it lies in ``folder``; else OutputError E_PATH_ESCAPE."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OutputError("E_PATH_ESCAPE", "would be written outside the output folder", path)
    return path
