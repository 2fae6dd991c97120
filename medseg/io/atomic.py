"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from medseg.errors import OutputError

_TEMPORARY = ".medseg-{}.tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_MISNAMED = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
_OF_THE_MACHINE = (
    *(*_FULL, *_FORBIDDEN, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EMFILE),
    *(errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),
)
# Some file systems cannot be asked to make a folder lasting.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_CHUNK = 1 << 20


def write_atomically(path: Path, data: bytes) -> str:
    """Write ``data`` beside ``path``, make it last, read it back, and only then give it its name.

    Folders are made as needed. Whatever happens, what had the name before is there or all of
    ``data`` is. Returns the SHA-256 of the bytes. Raises OutputError E_DISK_FULL, E_PERMISSION,
    E_OUTPUT_NAME or E_VERIFY.
    """
    temporary = path.with_name(_TEMPORARY.format(token_hex(6)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, data)
            if _read(temporary, len(data)) != data:
                raise OutputError("E_VERIFY", "read back, it is not what was written", path)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise _failed(error, path) from error
    return sha256(data).hexdigest()


def append_durably(path: Path, line: str) -> None:
    """Add a line to a file of lines, and make it last before anything else is done.

    A line that a killed writer left half-written is closed first, so that it harms no other;
    names that are no text are written as JSON escapes them.
    Raises OutputError as ``write_atomically``.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_all(descriptor, ("\n" * torn + line + "\n").encode("utf-8", "backslashreplace"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not size:
            _sync_folder(path.parent)
    except OSError as error:
        raise _failed(error, path) from error


@contextmanager
def naming_faults() -> Iterator[None]:
    """What a disk, a network drive or the system's limits do to us becomes an OutputError.

    Other errors of the system, such as a file that is not there, are mistakes of the program.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        raise _failed(error, None if error.filename is None else Path(error.filename)) from error


def remove_leftovers(folder: Path) -> tuple[Path, ...]:
    """Remove what a killed run left half-written under ``folder``; what was removed.

    Only for whoever has the folder to itself: another run's files would go as well.
    """
    found = tuple(sorted(folder.rglob(_TEMPORARY.format("*"))))
    for path in found:
        with suppress(OSError):
            path.unlink()
    return found


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read(path: Path, size: int) -> bytes:
    """What the file holds, up to one byte more than it should."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    parts = []
    try:
        while size >= 0 and (part := os.read(descriptor, min(size + 1, _CHUNK))):
            parts.append(part)
            size -= len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _failed(error: OSError, path: Path | None) -> OutputError:
    said = error.strerror or str(error)
    if error.errno in _FULL:
        return OutputError("E_DISK_FULL", f"there is no room left for it ({said})", path)
    if error.errno in _FORBIDDEN:
        return OutputError("E_PERMISSION", f"may not be written ({said})", path)
    if error.errno in _MISNAMED:
        return OutputError("E_OUTPUT_NAME", f"no file can have this name ({said})", path)
    return OutputError("E_VERIFY", f"could not be written or read safely ({said})", path)
