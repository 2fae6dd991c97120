"""A worker process: it makes its work once, then does item after item as it is told."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from time import sleep
from traceback import format_exception
from typing import Any, NoReturn

from medseg.execution.outcome import attempt

Say = Callable[[str, object], None]


def serve(make: Callable[..., Any], place: str, pipe: Connection, beat_seconds: float) -> None:
    """Work until the caller says None, or is no more.

    What is said is a pair: ``ready``, ``beat``, ``event`` with what was told, ``done`` with the
    seconds, the result and the error of an item, ``lost`` with why the process cannot go on, or
    ``broken`` with an error that ends the whole run.
    """
    # Of a group of its own: Ctrl-C is the caller's, and what a worker starts dies with it.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say = _sayer(pipe)
    orders: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, orders), daemon=True).start()
    threading.Thread(target=_beat, args=(say, beat_seconds), daemon=True).start()
    try:
        work = make(place, partial(say, "event"))
        say("ready", None)
        while (order := orders.get()) is not None:
            if isinstance(order, Exception):
                raise order
            item, before = order
            done = attempt(item, partial(work, item, before))
            say("done", (done.seconds, done.result, done.error))
            del item, order, done
    except Exception as error:
        told = f"the accelerator was lost ({str(error).splitlines()[0]})" if _lost(error) else ""
        say(*(("lost", told) if told else ("broken", _packed(error))))


def _sayer(pipe: Connection) -> Say:
    lock = threading.Lock()

    def say(kind: str, what: object) -> None:
        with lock:
            try:
                pipe.send((kind, what))
            except OSError:
                _leave()

    return say


def _listen(pipe: Connection, orders: SimpleQueue[Any]) -> None:
    """Pass orders on; a pipe that ends says that the caller is gone, however that came."""
    while True:
        try:
            order = pipe.recv()
        except (EOFError, OSError):
            _leave()
        except Exception as error:
            order = error
        orders.put(order)
        if order is None:
            return


def _beat(say: Say, seconds: float) -> None:
    while True:
        sleep(seconds)
        say("beat", None)


def _leave() -> NoReturn:
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _lost(error: Exception) -> bool:
    """Whether a device is dead for this process; another one may still use it."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def _packed(error: Exception) -> Exception:
    """The error as it can be sent, with the way that it came."""
    told = "".join(format_exception(error))
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"in a worker process:\n{told}")
    return copy
