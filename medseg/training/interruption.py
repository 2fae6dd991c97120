"""Ctrl-C and SIGTERM at a moment of our choosing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NoReturn

TERMINATED = 143


@contextmanager
def whole() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until what runs inside is done, then let them through.

    A step of training that is broken off has changed some weights and not others; no later run
    could go on from there as if nothing had happened. Only the main thread hears signals, and a
    program that has its own way with Ctrl-C keeps that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with ExitStack() as held:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            held.enter_context(_held(signal.SIGINT))
        if callable(signal.getsignal(signal.SIGTERM)):
            held.enter_context(_held(signal.SIGTERM))
        yield


@contextmanager
def _held(number: signal.Signals) -> Iterator[None]:
    heard: list[FrameType | None] = []
    usual = signal.signal(number, lambda _, frame: heard.append(frame))
    try:
        yield
    finally:
        signal.signal(number, usual)
    if heard and callable(usual):
        usual(number, heard[-1])


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM end what runs inside with SystemExit(143), so that it can keep its work.

    A program that has its own way with SIGTERM keeps that.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise SystemExit(TERMINATED)
