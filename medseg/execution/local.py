"""Long-lived worker processes, watched: what kills one costs the item it had, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any, Generic

from medseg.errors import MedsegError, StudyError
from medseg.execution.crew import Crew, held_gib, why_ended
from medseg.execution.outcome import Item, Outcome, Result
from medseg.execution.worker import serve

Hear = Callable[[Item, Any], object]
_LOOK_SECONDS = 0.2
_TRIES_TO_START = 3
_PARTING_SECONDS = 5.0
_SILENCES_TO_START = 5


def supervised(
    crew: Crew[Item, Result], items: Iterable[Item], hear: Hear[Item]
) -> Iterator[Outcome[Item, Result]]:
    """Outcomes of ``items`` in order of finishing; ``hear(item, event)`` is told of the work.

    An item whose worker died, or was killed for its memory or its silence, is tried once more in
    a new process, then fails by E_WORKER_DIED or E_MEMORY; one that takes too long fails by
    E_TIMEOUT at once. What would befall every item flies, as in ``attempt``, and so does
    MedsegError E_WORKER_DIED where no worker can be started. Close it to end the workers.
    """
    hall = Hall(crew, hear)
    try:
        yield from hall.through(iter(items))
    finally:
        hall.close()


@dataclass(frozen=True)
class Task(Generic[Item]):
    """An item to be done; ``before`` says what befell the worker that had it before."""

    item: Item
    before: str = ""


@dataclass(eq=False)
class _Worker(Generic[Item]):
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
        """End the process and all that it started."""
        with suppress(OSError):
            # Once it is waited for, another process may have its number.
            if self.ready and self.process.pid and _unreaped(self.process) is not None:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def _unreaped(process: SpawnProcess) -> bool | None:
    """Whether a child is alive; None where its end was taken note of, and its number is free."""
    if not hasattr(os, "waitid"):
        return process.is_alive() or None
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        return os.waitid(os.P_PID, process.pid or 0, flags) is None
    except ChildProcessError:
        return None


class Hall(Generic[Item, Result]):
    """The workers of a crew, the tasks that wait, and who has which."""

    def __init__(self, crew: Crew[Item, Result], hear: Hear[Item]) -> None:
        self._crew = crew
        self._hear = hear
        self._workers: list[_Worker[Item]] = []
        self._again: deque[Task[Item]] = deque()
        self._failed_to_start = 0

    def one(
        self, item: Item, before: str, wanted: Callable[[], bool]
    ) -> Outcome[Item, Result] | None:
        """The outcome of one item; None, and the workers ended, once it is ``wanted`` no more."""
        self._again.append(Task(item, before))
        for outcome in self.through(iter(()), wanted):
            return outcome
        self._again.clear()
        self.close()
        return None

    @property
    def ready(self) -> bool:
        """Whether a worker has come so far that it can do items."""
        return any(worker.ready for worker in self._workers)

    def through(
        self, items: Iterator[Item], wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[Outcome[Item, Result]]:
        """Deal out, listen and look after the workers until nothing is left, or wanted."""
        held = self._next(items)
        while wanted():
            while held is not None and (worker := self._idle()) is not None:
                self._give(worker, held)
                held = self._next(items)
            if held is None and not any(worker.task for worker in self._workers):
                return
            if held is not None:
                self._staff()
            yield from self._listened()
            for worker in tuple(self._workers):
                yield from self._looked_after(worker)
            held = held or self._next(items)

    def close(self) -> None:
        """Dismiss who is idle; end who is at work."""
        for worker in self._workers:
            with suppress(OSError):
                worker.pipe.send(None)
        deadline = monotonic() + _PARTING_SECONDS
        for worker in self._workers:
            if worker.ready and worker.task is None:
                worker.process.join(max(0.0, deadline - monotonic()))
            worker.kill()
            worker.pipe.close()
        self._workers.clear()

    def _next(self, items: Iterator[Item]) -> Task[Item] | None:
        if self._again:
            return self._again.popleft()
        for item in items:
            return Task(item)
        return None

    def _idle(self) -> _Worker[Item] | None:
        free = (one for one in self._workers if one.ready and one.task is None)
        # One that died while it had nothing to do costs no item an attempt.
        return next((one for one in free if one.process.is_alive()), None)

    def _staff(self) -> None:
        """Start a worker for each place that has none."""
        free = list(self._crew.places)
        for worker in self._workers:
            free.remove(worker.place)
        context = multiprocessing.get_context("spawn")
        for place in free:
            ours, theirs = context.Pipe()
            told = (self._crew.make, place, theirs, self._crew.beat_seconds)
            process = context.Process(target=serve, args=told, daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(place, process, ours))

    def _give(self, worker: _Worker[Item], task: Task[Item]) -> None:
        worker.task, worker.since = task, monotonic()
        with suppress(OSError):  # One that has just died is found so a moment later.
            worker.pipe.send((task.item, task.before))

    def _listened(self) -> Iterator[Outcome[Item, Result]]:
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), _LOOK_SECONDS):
            yield from self._said(by_pipe[pipe])  # type: ignore[index]

    def _said(self, worker: _Worker[Item]) -> Iterator[Outcome[Item, Result]]:
        """All that a worker has said by now."""
        for kind, what in worker.words():
            worker.heard, worker.spoke = monotonic(), True
            if kind == "broken":
                raise what
            if kind == "lost":
                worker.lost = what
            elif kind == "ready":
                worker.ready, worker.base_gib = True, held_gib(worker.process.pid or 0)
                self._failed_to_start = 0
            elif kind == "event" and worker.task is not None:
                self._hear(worker.task.item, what)
            elif kind == "done" and worker.task is not None:
                item, worker.task = worker.task.item, None
                yield Outcome(item, *what)

    def _looked_after(self, worker: _Worker[Item]) -> Iterator[Outcome[Item, Result]]:
        """End a worker that goes too far; say what became of the item of one that has ended."""
        if worker.ended():
            yield from self._said(worker)
            worker.kill()
            told = worker.lost or why_ended(worker.process.exitcode, worker.gib)
            yield from self._parted(worker, "E_WORKER_DIED", told)
            return
        worker.gib = held_gib(worker.process.pid or 0) or worker.gib
        crew, now = self._crew, monotonic()
        if worker.task is not None and crew.seconds and now - worker.since > crew.seconds:
            told = f"took longer than limits.seconds, {crew.seconds:g}"
            yield from self._parted(worker, "E_TIMEOUT", told)
        elif worker.ready and worker.gib - worker.base_gib > (crew.memory_gib or float("inf")):
            told = f"held {worker.gib - worker.base_gib:.2f} GiB; it may take {crew.memory_gib:.3g}"
            yield from self._parted(worker, "E_MEMORY", told)
        elif now - worker.heard > (silence := self._silence(worker)):
            told = f"its process gave no sign for {silence:g} s"
            yield from self._parted(worker, "E_WORKER_DIED", told)

    def _silence(self, worker: _Worker[Item]) -> float:
        """How long it may be silent: until its first word it loads packages and cannot speak."""
        return self._crew.silent_seconds * (1 if worker.spoke else _SILENCES_TO_START)

    def _parted(
        self, worker: _Worker[Item], code: str, told: str
    ) -> Iterator[Outcome[Item, Result]]:
        """Part with a worker; its item is tried again, or ends by ``code``."""
        worker.kill()
        worker.pipe.close()
        self._workers.remove(worker)
        task = worker.task
        if not worker.ready:
            self._failed_to_start += 1
            if self._failed_to_start >= _TRIES_TO_START:
                raise MedsegError("E_WORKER_DIED", f"no worker could be started: {told}")
        elif task is not None and not task.before and code != "E_TIMEOUT":
            self._again.append(Task(task.item, told))
        elif task is not None:
            said = f"{told}, at the second attempt too" if task.before else told
            yield Outcome(task.item, monotonic() - worker.since, None, StudyError(code, said))
