"""On a Dask worker: studies are done in a process beside it, which is watched as on one machine."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic

from medseg.errors import MedsegError
from medseg.execution.crew import Crew, machine_gib
from medseg.execution.local import Hall
from medseg.execution.outcome import Item, Outcome, Result

IDLE_SECONDS = 15.0
_SHARE = 0.9
_GUARDS: dict[str, _Guard] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True, repr=False)
class Order(Generic[Item, Result]):
    """One item for one worker; it has no repr, as that would be in Dask's logs."""

    run: str
    crew: Crew[Item, Result]
    place: str
    number: int
    item: Item
    before: str


def dask_setup(worker: object) -> None:
    """What Dask calls in each worker of this machine: Ctrl-C on the terminal is the caller's."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def guarded(order: Order[Any, Any]) -> tuple[str, Any]:
    """What became of an item, in a pair that never is an exception, which Dask would log.

    ``done`` with seconds, result and error; ``broken`` with an error that ends the run; ``lost``
    with why this worker can do no item at all; ``left`` where nobody waits for it any more.
    """
    guard = _guard_of(order)
    try:
        outcome = guard.one(order)
    except Exception as error:
        begun = guard.hall.ready
        guard.close()
        return ("broken" if begun else "lost"), _placed(error)
    return ("left", None) if outcome is None else ("done", _plain(outcome))


def _plain(outcome: Outcome[Any, Any]) -> tuple[float, Any, Any]:
    return outcome.seconds, outcome.result, outcome.error


def _guard_of(order: Order[Any, Any]) -> _Guard:
    with _LOCK:
        if order.run not in _GUARDS:
            _GUARDS[order.run] = _Guard(order)
        return _GUARDS[order.run]


class _Guard:
    """A process for the studies of one run, for as long as they come."""

    def __init__(self, order: Order[Any, Any]) -> None:
        crew = order.crew
        memory = crew.memory_gib or _SHARE * machine_gib()
        self.hall = Hall(replace(crew, places=(order.place,), memory_gib=memory))
        self._run = order.run
        self._number = order.number
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None

    def one(self, order: Order[Any, Any]) -> Outcome[Any, Any] | None:
        # Dask starts its workers as processes that may have none of their own.
        multiprocessing.current_process().daemon = False
        with self._turn:
            if self._timer is not None:
                self._timer.cancel()
            self._number = order.number
            try:
                return self.hall.one(order.item, order.before, self._hear, _wanted())
            finally:
                # The model leaves the device soon after the last study, however the run ended.
                self._timer = threading.Timer(IDLE_SECONDS, self.close)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        with self._turn, _LOCK:
            self.hall.close()
            _GUARDS.pop(self._run, None)

    def _hear(self, item: object, event: object) -> None:
        from distributed import get_worker

        if item is not None:
            get_worker().log_event(self._run, pickle.dumps((self._number, event)))


def _wanted() -> Callable[[], bool]:
    """Whether the task at work is still asked for; not so once its client is gone."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    return wanted


def _placed(error: Exception) -> Exception:
    """The error with the machine that it came from."""
    if isinstance(error, MedsegError):
        error.message = f"{error.message} (on {socket.gethostname()})"
        error.args = (error.code, error.message, *error.args[2:])
    return error
