"""The output folder: ours alone while we write, and able to take what we write."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep

from medseg.errors import OutputError
from medseg.io import remove_leftovers, write_atomically

LOCK = ".medseg.lock"


_PATIENCE_SECONDS = 5.0


@contextmanager
def held(folder: Path, shared: bool = False) -> Iterator[Path]:
    """Make the folder, try it, and keep other runs out until the end.

    With ``shared`` only those that want it to themselves are kept out. Raises OutputError:
    E_PERMISSION where nothing can be written, E_LOCKED where another run is at work. The lock is
    the system's own, so a killed run leaves none behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise OutputError("E_PERMISSION", f"cannot be written to ({error.strerror})", folder) from (
            error
        )
    try:
        yield from _held(folder, descriptor, shared)
    finally:
        os.close(descriptor)


def _held(folder: Path, descriptor: int, shared: bool) -> Iterator[Path]:
    alone: bool | None = None
    try:
        alone = _locked(descriptor, shared, folder)
        if alone is None:
            raise _taken(folder, descriptor)
        os.ftruncate(descriptor, 0)
        if alone:
            remove_leftovers(folder)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        told = f"process {os.getpid()} on {socket.gethostname()} since {now}\n"
        os.pwrite(descriptor, told.encode(), 0)
        # To take less is to let go first: another run may come between.
        if shared and not _keep_trying(descriptor, fcntl.LOCK_SH):
            raise _taken(folder, descriptor)
        yield folder
    finally:
        if alone and not shared:
            # What workers that had to be ended left half-written.
            remove_leftovers(folder)


def _taken(folder: Path, descriptor: int) -> OutputError:
    owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
    return OutputError("E_LOCKED", f"another run is writing here ({owner}); wait for it", folder)


def _locked(descriptor: int, shared: bool, folder: Path) -> bool | None:
    """Whether the folder is held by nobody else; None where it cannot be had."""
    try:
        if _tried(descriptor, fcntl.LOCK_EX):
            return True
        return False if shared and _keep_trying(descriptor, fcntl.LOCK_SH) else None
    except OSError as error:
        told = f"the file system takes no locks ({error.strerror}), which keep two runs apart"
        raise OutputError("E_PERMISSION", told, folder) from error


def _keep_trying(descriptor: int, how: int) -> bool:
    """Others hold it to themselves for the moment in which they begin."""
    deadline = monotonic() + _PATIENCE_SECONDS
    while not _tried(descriptor, how):
        if monotonic() > deadline:
            return False
        sleep(0.05)
    return True


def _tried(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def signed(folder: Path) -> Iterator[Path]:
    """A file with a name of its own, by which others know that they see this very folder."""
    sign = folder / f".medseg-{token_hex(8)}.tmp"
    write_atomically(sign, b"")
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)


def inside(folder: Path, path: Path) -> Path:
    """``path``, once it is sure that it lies in ``folder``; else OutputError E_PATH_ESCAPE."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OutputError("E_PATH_ESCAPE", "would be written outside the output folder", path)
    return path
