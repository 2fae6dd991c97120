"""A worker process as its supervisor sees it: what it said, whether it lives, how it is ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any, Generic

from medseg.execution.outcome import Item

PARTING_SECONDS = 5.0


@dataclass(frozen=True)
class Task(Generic[Item]):
    """An item to be done; ``before`` says what befell the worker of ``place`` that had it."""

    item: Item
    before: str = ""
    place: str = ""


@dataclass(eq=False)
class Watched(Generic[Item]):
    """A worker process as it is seen from here; the times are those of ``monotonic``."""

    place: str
    process: SpawnProcess
    pipe: Connection
    heard: float = field(default_factory=monotonic)
    since: float = field(default_factory=monotonic)
    spoke: bool = False
    ready: bool = False
    base_gib: float = 0.0
    gib: float = 0.0
    task: Task[Item] | None = None
    lost: str = ""
    broken: Exception | None = None

    def words(self) -> Iterator[tuple[str, Any]]:
        """What it has said and was not heard yet; of one that has died, until it died."""
        while True:
            try:
                if not self.pipe.poll():
                    return
                word = self.pipe.recv()
            except (EOFError, OSError):
                return
            yield word

    def ended(self) -> bool:
        """Whether the process is no more; it keeps its number until ``kill``."""
        return _unreaped(self.process) is not True

    def kill(self) -> None:
        """End the process and all that it started; one that does not end is given up."""
        with suppress(OSError):
            # Once it is waited for, another process may have its number.
            if self.ready and self.process.pid and _unreaped(self.process) is not None:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(PARTING_SECONDS)
        if self.process.is_alive():
            # It waits for a disk or a driver. Python would wait for it, too, before it exits.
            multiprocessing.process._children.discard(self.process)  # type: ignore[attr-defined]


def _unreaped(process: SpawnProcess) -> bool | None:
    """Whether a child is alive; None where its end was taken note of, and its number is free."""
    if not hasattr(os, "waitid"):
        return process.is_alive() or None
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        return os.waitid(os.P_PID, process.pid or 0, flags) is None
    except ChildProcessError:
        return None
