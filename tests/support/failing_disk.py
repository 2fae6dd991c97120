"""A disk one of whose calls fails: the n-th that has to do with one folder."""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BY_PATH = ("open", "mkdir", "replace", "rename", "unlink", "link", "stat", "lstat", "scandir")
BY_PATH_TOO = ("listdir", "readlink", "rmdir", "utime", "statvfs")
BY_DESCRIPTOR = (
    "read",
    "write",
    "fsync",
    "close",
    "fstat",
    "pread",
    "pwrite",
    "ftruncate",
    "lseek",
)


@dataclass
class Disk:
    """Counts the calls under ``root``; the one with number ``fatal`` fails with ``number``.

    A close is made before it fails, as the system does; all others are not made.
    """

    root: str
    fatal: int
    number: int
    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, kind: str) -> None:
        """One more call; raises OSError if its turn has come."""
        with self._lock:
            self.count += 1
            self.kinds[kind] += 1
            if self.count == self.fatal:
                raise OSError(self.number, os.strerror(self.number))

    def concerns(self, what: Any) -> bool:
        """Whether a path or a descriptor lies in the folder."""
        if isinstance(what, int):
            with suppress(OSError):
                return _LINK(f"/proc/self/fd/{what}").startswith(self.root)
            return False
        return isinstance(what, str | os.PathLike) and os.fspath(what).startswith(self.root)

    def wrapped(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, counted where it concerns the folder."""

        def made(*args: Any, **options: Any) -> Any:
            what = args[0] if args else options.get("path")
            what = what.fileno() if hasattr(what, "fileno") else what
            if not self.concerns(what):
                return call(*args, **options)
            if kind == "close":
                call(*args, **options)
                return self.step(kind)
            self.step(kind)
            return call(*args, **options)

        return made


_LINK = os.readlink


@contextmanager
def failing(root: Path, fatal: int, number: int) -> Iterator[Disk]:
    """The calls of the whole process under ``root`` counted, one of them failing; 0 is none."""
    disk = Disk(str(root), fatal, number)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*BY_PATH, *BY_PATH_TOO, *BY_DESCRIPTOR):
            patch.setattr(os, name, disk.wrapped(name, getattr(os, name)))
        for module in (builtins, io):
            patch.setattr(module, "open", disk.wrapped("open", open))
        patch.setattr(fcntl, "flock", disk.wrapped("flock", fcntl.flock))
        yield disk
