"""Work for worker processes: some of it ends them."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import sleep

from medseg.errors import OutputError, StudyError

Work = Callable[[str, str], str]


def making(place: str, tell: Callable[[object], None]) -> Work:
    """Work that does what an item's first word says, and gives the item and its place."""

    def work(item: str, before: str) -> str:
        tell(f"begun {item}")
        word, _, rest = item.partition(" ")
        DEEDS.get(word, _nothing)(rest, before)
        return f"{item} at {place} by {os.getpid()}{' again' if before else ''}"

    return work


def refusing(place: str, tell: Callable[[object], None]) -> Work:
    """No work: the model is not there."""
    del place, tell
    raise OutputError("E_PERMISSION", "may not be written", "out")


def dying(place: str, tell: Callable[[object], None]) -> Work:
    """No work: the process ends before it is ready."""
    del place, tell
    os._exit(3)


def _nothing(rest: str, before: str) -> None:
    del rest, before


def _die(rest: str, before: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_once(rest: str, before: str) -> None:
    if not before:
        os.kill(os.getpid(), signal.SIGKILL)


def _crash(rest: str, before: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _exit(rest: str, before: str) -> None:
    os._exit(int(rest))


def _hang(rest: str, before: str) -> None:
    sleep(600)


def _stop(rest: str, before: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _eat(rest: str, before: str) -> None:
    taken = []
    for _ in range(500):
        taken.append(bytearray(b"x" * 2**22))
        sleep(0.002)


def _lose(rest: str, before: str) -> None:
    if not before:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nmore")


def _fail(rest: str, before: str) -> None:
    raise StudyError("E_TRUNCATED", "ends early", rest)


def _full(rest: str, before: str) -> None:
    raise OutputError("E_DISK_FULL", "is full", rest)


def _bug(rest: str, before: str) -> None:
    raise ZeroDivisionError("a bug")


def _absent(rest: str, before: str) -> None:
    raise FileNotFoundError(2, "a bug, too", rest)


class _UnsendableError(Exception):
    def __init__(self) -> None:
        super().__init__("holds what cannot be sent")
        self.held = ctypes.pointer(ctypes.c_int(1))


def _odd_bug(rest: str, before: str) -> None:
    raise _UnsendableError


def _sleep(rest: str, before: str) -> None:
    sleep(float(rest.split(maxsplit=1)[0]))


def _kill_parent(rest: str, before: str) -> None:
    """End the process beside which this one works: a Dask worker."""
    os.kill(os.getppid(), signal.SIGKILL)
    sleep(600)


def _kill_parent_once(rest: str, before: str) -> None:
    if not before:
        _kill_parent(rest, before)


def _touch(rest: str, before: str) -> None:
    Path(rest).write_text(str(os.getpid()))
    sleep(600)


DEEDS: dict[str, Callable[[str, str], None]] = {
    "die": _die,
    "die_once": _die_once,
    "crash": _crash,
    "exit": _exit,
    "hang": _hang,
    "stop": _stop,
    "eat": _eat,
    "lose": _lose,
    "fail": _fail,
    "full": _full,
    "bug": _bug,
    "absent": _absent,
    "odd_bug": _odd_bug,
    "sleep": _sleep,
    "kill_parent": _kill_parent,
    "kill_parent_once": _kill_parent_once,
    "touch": _touch,
}
