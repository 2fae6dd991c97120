"""What a crew of worker processes is told, and what its workers say back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Generic

from medseg.execution.outcome import Item, Result

GIB = 2**30
Tell = Callable[[object], None]


@dataclass(frozen=True)
class Crew(Generic[Item, Result]):
    """Worker processes, one for each of ``places``, and what a study may take of them.

    ``make(place, tell)`` is called once in each worker and gives ``work(item, before)``: ``before``
    is empty, or says what befell the worker that had the item before. What is told is heard in
    the caller's process. A worker that takes longer than ``seconds`` for an item, holds more than
    ``memory_gib`` above what it held when it was ready, or gives no sign for ``silent_seconds``
    (five times as long until its first) is killed. All of it has to be picklable.
    """

    make: Callable[[str, Tell], Callable[[Item, str], Result]]
    places: tuple[str, ...]
    seconds: float | None = None
    memory_gib: float | None = None
    silent_seconds: float = 120.0
    beat_seconds: float = 1.0


def held_gib(pid: int) -> float:
    """What a process holds of memory by itself, without files; 0 where that is not known."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0.0
    kept = [line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(int(words[1]) for words in kept) * 1024 / GIB


def machine_gib(root: Path = Path("/")) -> float:
    """The machine's memory, or what the control groups of this process may take of it."""
    whole: float = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    for file in _limits_of_groups(root):
        try:
            said = file.read_text("ascii").strip()
        except OSError:
            continue
        if said.isdecimal():
            whole = min(whole, int(said) / GIB)
    return whole


def _limits_of_groups(root: Path) -> Iterator[Path]:
    """Where the limits of this process's group and of those that it is in may be written.

    A job of a queue has a group of its own, in those of the queue; a container sees its as the
    root.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    lines += ["0::/", "0:memory:/"]
    for line in lines:
        _, kind, place = line.split(":", 2)
        if kind not in ("", "memory"):
            continue
        name = "memory.limit_in_bytes" if kind else "memory.max"
        group = PurePath(place.lstrip("/"))
        for one in dict.fromkeys((group, *group.parents)):
            yield root / "sys/fs/cgroup" / kind / one / name


def why_ended(code: int | None, gib: float) -> str:
    """A sentence about how a process ended: ``code`` as of subprocess, ``gib`` what it held."""
    if code is None or code >= 0:
        return f"its process ended by itself with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        held = f"it held {gib:.1f} GiB of the machine's {machine_gib():.1f} GiB"
        return f"its process was killed from outside, likely out of memory ({held})"
    return f"its process crashed ({name})"
