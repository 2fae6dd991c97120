"""Bytes from a file, once from front to end: counted, hashed, unpacked and checked.

Nothing is held but what was asked for, so that a file that claims too much costs nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from medseg.errors import StudyError

CHUNK = 1 << 18
DEFLATE_RATIO = 1032
"""No deflate stream yields more than this many bytes for one."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class ByteStream(ABC):
    """Bytes in order; ``position`` counts those handed out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self._ahead = b""

    @abstractmethod
    def _more(self, wanted: int) -> bytes:
        """Between one byte and ``wanted``; none only at the end."""

    @property
    @abstractmethod
    def room(self) -> int:
        """The most bytes that can still come."""

    def read(self, wanted: int) -> bytes:
        """Between one byte and ``wanted``; none only at the end."""
        if self._ahead:
            part, self._ahead = self._ahead[:wanted], self._ahead[wanted:]
        else:
            part = self._more(wanted)
        self.position += len(part)
        return part

    def peek(self, wanted: int) -> bytes:
        """The next bytes, ``wanted`` of them or what there is, without moving on."""
        while len(self._ahead) < wanted:
            part = self._more(wanted - len(self._ahead))
            if not part:
                break
            self._ahead += part
        return self._ahead[:wanted]

    def fill(self, view: memoryview) -> int:
        """Read until ``view`` is full or the end has come; how many bytes came."""
        got = 0
        while got < len(view):
            part = self.read(len(view) - got)
            if not part:
                break
            view[got : got + len(part)] = part
            got += len(part)
        return got

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes; how many there were."""
        before = self.position
        while (left := count - (self.position - before)) > 0 and self.read(min(left, CHUNK)):
            pass
        return self.position - before


class FileStream(ByteStream):
    """A regular file's bytes, hashed as they come.

    Raises StudyError E_NOT_FOUND, E_NOT_A_FILE, E_EMPTY_FILE or E_PERMISSION.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._descriptor, self.size = _opened(path)
        self._hash = sha256()

    def __enter__(self) -> FileStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go; once is enough and twice does no harm."""
        if self._descriptor >= 0:
            # Of what was only read, nothing can be lost by it.
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    @property
    def room(self) -> int:
        """Bytes of the file still to come."""
        return max(0, self.size - self.position)

    def _more(self, wanted: int) -> bytes:
        try:
            part = os.read(self._descriptor, wanted)
        except OSError as error:
            raise StudyError("E_PERMISSION", f"cannot be read ({error.strerror})", self.path) from (
                error
            )
        self._hash.update(part)
        return part

    def digest(self) -> str:
        """The SHA-256 of the whole file; what was not yet read is read now."""
        while self._more(CHUNK):
            pass
        return self._hash.hexdigest()


class Unpacked(ByteStream):
    """What a gzip or zlib stream holds, its checksum compared at its end.

    Several gzip members after each other are one stream. Raises StudyError E_CORRUPT_GZIP.
    """

    def __init__(self, packed: ByteStream, form: Literal["gzip", "zlib"]) -> None:
        super().__init__(packed.path)
        self._packed = packed
        self._most = DEFLATE_RATIO * packed.room
        self._form = form
        self._engine = self._fresh()
        self._waiting = b""
        self.ended = False
        """Whether the stream came to its own end, checksum and all."""
        self.cut = False
        """Whether the file ended before it."""

    def _fresh(self) -> Any:
        from isal import isal_zlib

        return isal_zlib.decompressobj(31 if self._form == "gzip" else 15)

    @property
    def room(self) -> int:
        """A bound: what deflate could at most make of the packed bytes."""
        return len(self._ahead) if self.ended else self._most - self.position

    def _more(self, wanted: int) -> bytes:
        while not (self.ended or self.cut):
            fresh = self._waiting or self._packed.read(CHUNK)
            out = self._unpack(fresh, wanted)
            self._waiting = self._engine.unconsumed_tail
            if self._engine.eof:
                self._begin_next_member()
            elif not fresh and not out:
                self.cut = True
            if out:
                return out
        return b""

    def _unpack(self, packed: bytes, wanted: int) -> bytes:
        from isal import isal_zlib

        damaged: Any = isal_zlib.error
        try:
            out: bytes = self._engine.decompress(packed, wanted)
        except damaged as error:
            raise StudyError(
                "E_CORRUPT_GZIP",
                f"the {self._form} stream is damaged after about {self.position} unpacked bytes"
                f" ({error}); copy the file again",
                self.path,
            ) from None
        return out

    def _begin_next_member(self) -> None:
        self._waiting = self._engine.unused_data
        while len(self._waiting) < 3 and (part := self._packed.read(CHUNK)):
            self._waiting += part
        if self._form == "gzip" and self._waiting.startswith(b"\x1f\x8b\x08"):
            self._engine = self._fresh()
        else:
            self.ended = True

    @property
    def left_over(self) -> int:
        """Bytes of the file that stand after the end of the packed stream."""
        return len(self._waiting) + self._packed.room


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes; StudyError where it cannot be read."""
    with FileStream(path) as file:
        return file.digest()


def _opened(path: Path) -> tuple[int, int]:
    """A descriptor and a size, once it is sure that this is a file with something in it."""
    try:
        # Looked at before it is opened: to open a pipe or a device can wait, or do something.
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            size = os.fstat(descriptor).st_size
            if size > 0:
                return descriptor, size
            os.close(descriptor)
            raise StudyError("E_EMPTY_FILE", "holds no bytes; copy the file again", path)
    except (OSError, ValueError) as error:
        raise _unopened(path, error) from None
    what = next((name for test, name in _KINDS if test(mode)), "no regular file")
    raise StudyError("E_NOT_A_FILE", f"is {what}, not a file", path)


def _unopened(path: Path, error: OSError | ValueError) -> StudyError:
    number = error.errno if isinstance(error, OSError) else errno.ENOENT
    if number in (errno.EACCES, errno.EPERM):
        return StudyError("E_PERMISSION", "may not be read; change its permissions", path)
    if number == errno.ELOOP:
        return StudyError("E_NOT_FOUND", "is a link that leads back to itself", path)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        if isinstance(error, OSError) and number != errno.ENAMETOOLONG and path.is_symlink():
            return StudyError(
                "E_NOT_FOUND", f"is a link to {str(path.readlink())!r}, which is not there", path
            )
        return StudyError("E_NOT_FOUND", "there is no such file", path)
    # An error's own text would have the path in it.
    why = error.strerror if isinstance(error, OSError) else error
    return StudyError("E_PERMISSION", f"cannot be read ({why})", path)
