"""Long-lived worker processes, watched: what kills one costs the item it had, and nothing else."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from multiprocessing.connection import wait
from time import monotonic
from typing import Any, Generic

from medseg.errors import MedsegError, StudyError
from medseg.execution.crew import Crew, held_gib, why_ended
from medseg.execution.outcome import Item, Outcome, Result
from medseg.execution.watched import PARTING_SECONDS, Task, Watched
from medseg.execution.worker import serve

Hear = Callable[[Item | None, Any], object]
"""Is told an item and an event of its work, or None and a sentence about the workers."""
_LOOK_SECONDS = 0.2
_TRIES_TO_START = 3
_SILENCES_TO_START = 5


def unheard(item: object, event: object) -> None:
    """Of a caller who does not listen."""
    del item, event


def supervised(
    crew: Crew[Item, Result], items: Iterable[Item], hear: Hear[Item]
) -> Iterator[Outcome[Item, Result]]:
    """Outcomes of ``items`` in order of finishing; ``hear`` is told of the work.

    An item whose worker died, or was killed for its memory or its silence, is tried once more in
    a new process, then fails by E_WORKER_DIED or E_MEMORY; one that takes too long fails by
    E_TIMEOUT at once. What would befall every item flies, as in ``attempt``. A place whose workers
    cannot begin is given up; once none is left the reason flies, which is MedsegError
    E_WORKER_DIED where they just died. Close it to end the workers.
    """
    with closing(Hall(crew)) as hall:
        yield from hall.through(iter(items), hear)


class Hall(Generic[Item, Result]):
    """The workers of a crew, the tasks that wait, and who has which.

    Between two calls of ``through`` the workers wait with what they have loaded.
    """

    def __init__(self, crew: Crew[Item, Result]) -> None:
        self._crew = crew
        self._hear: Hear[Item] = unheard
        self._workers: list[Watched[Item]] = []
        self._tasks: deque[Task[Item]] = deque()
        self._deaths: Counter[str] = Counter()
        self._broken: dict[str, Exception] = {}

    def one(
        self, item: Item, before: str, hear: Hear[Item], wanted: Callable[[], bool]
    ) -> Outcome[Item, Result] | None:
        """The outcome of one item; None, and the workers ended, once it is ``wanted`` no more."""
        self._tasks.append(Task(item, before))
        for outcome in self.through(iter(()), hear, wanted):
            return outcome
        self._tasks.clear()
        self.close()
        return None

    @property
    def ready(self) -> bool:
        """Whether a worker has come so far that it can do items."""
        return any(worker.ready for worker in self._workers)

    def through(
        self, items: Iterator[Item], hear: Hear[Item], wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[Outcome[Item, Result]]:
        """Deal out, listen and look after the workers until nothing is left, or wanted."""
        self._hear = hear
        # What could not begin an hour ago may do so now.
        self._broken.clear()
        self._deaths.clear()
        while wanted():
            self._deal(items)
            if not self._tasks and not any(worker.task for worker in self._workers):
                return
            if self._tasks:
                self._staff()
            yield from self._listened()
            for worker in tuple(self._workers):
                yield from self._looked_after(worker)

    def close(self) -> None:
        """Dismiss who is idle; end who is at work."""
        for worker in self._workers:
            with suppress(OSError):
                worker.pipe.send(None)
        deadline = monotonic() + PARTING_SECONDS
        for worker in self._workers:
            if worker.ready and worker.task is None:
                worker.process.join(max(0.0, deadline - monotonic()))
            worker.kill()
            worker.pipe.close()
        self._workers.clear()

    def _deal(self, items: Iterator[Item]) -> None:
        """Give tasks to who is idle; a new one is in hand after that, where there is one."""
        self._take(items)
        while (pair := self._pair()) is not None:
            worker, task = pair
            self._tasks.remove(task)
            self._give(worker, task)
            self._take(items)

    def _take(self, items: Iterator[Item]) -> None:
        if all(task.before for task in self._tasks):
            self._tasks.extend(map(Task, islice(items, 1)))

    def _pair(self) -> tuple[Watched[Item], Task[Item]] | None:
        """Who is idle, and the first task for it."""
        free = (one for one in self._workers if one.ready and one.task is None)
        # One that died while it had nothing to do costs no item an attempt.
        idle = [one for one in free if one.process.is_alive()]
        pairs = ((one, task) for task in self._tasks for one in idle if self._suits(one, task))
        return next(pairs, None)

    def _suits(self, worker: Watched[Item], task: Task[Item]) -> bool:
        """Not where it failed before, as the fault may be the device's, but for want of another."""
        others = {*self._crew.places} - {*self._broken} | {one.place for one in self._workers}
        return worker.place != task.place or others == {task.place}

    def _staff(self) -> None:
        """Start a worker for each place that has none; the reason flies where no place is left."""
        free = [place for place in self._crew.places if place not in self._broken]
        if not free and not self._workers:
            raise next(iter(self._broken.values()))
        for worker in self._workers:
            if worker.place in free:
                free.remove(worker.place)
        context = multiprocessing.get_context("spawn")
        for place in free:
            ours, theirs = context.Pipe()
            told = (self._crew.make, place, theirs, self._crew.beat_seconds)
            process = context.Process(target=serve, args=told, daemon=True)
            process.start()
            theirs.close()
            self._workers.append(Watched(place, process, ours))

    def _give(self, worker: Watched[Item], task: Task[Item]) -> None:
        worker.task, worker.since = task, monotonic()
        with suppress(OSError):  # One that has just died is found so a moment later.
            worker.pipe.send((task.item, task.before))

    def _listened(self) -> Iterator[Outcome[Item, Result]]:
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), _LOOK_SECONDS):
            yield from self._said(by_pipe[pipe])  # type: ignore[index]

    def _said(self, worker: Watched[Item]) -> Iterator[Outcome[Item, Result]]:
        """All that a worker has said by now."""
        for kind, what in worker.words():
            worker.heard, worker.spoke = monotonic(), True
            if kind == "broken" and worker.ready:
                raise what
            if kind == "broken":
                worker.broken = what
            elif kind == "lost":
                worker.lost = what
            elif kind == "ready":
                worker.ready, worker.base_gib = True, held_gib(worker.process.pid or 0)
                self._deaths[worker.place] = 0
            elif kind == "event" and worker.task is not None:
                self._hear(worker.task.item, what)
            elif kind == "done" and worker.task is not None:
                item, worker.task = worker.task.item, None
                yield Outcome(item, *what)

    def _looked_after(self, worker: Watched[Item]) -> Iterator[Outcome[Item, Result]]:
        """End a worker that goes too far; say what became of the item of one that has ended."""
        ended, task = worker.ended(), worker.task
        # Whoever takes the outcomes may have been long about it: what it said meanwhile counts.
        yield from self._said(worker)
        if ended or worker.broken is not None:
            worker.kill()
            told = worker.lost or why_ended(worker.process.exitcode, worker.gib)
            yield from self._parted(worker, "E_WORKER_DIED", told)
        elif worker.task is task:
            yield from self._judged(worker)

    def _judged(self, worker: Watched[Item]) -> Iterator[Outcome[Item, Result]]:
        """End a worker that takes too long or too much, or is silent, by all that it said."""
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

    def _silence(self, worker: Watched[Item]) -> float:
        """How long it may be silent: until its first word it loads packages and cannot speak."""
        return self._crew.silent_seconds * (1 if worker.spoke else _SILENCES_TO_START)

    def _parted(
        self, worker: Watched[Item], code: str, told: str
    ) -> Iterator[Outcome[Item, Result]]:
        """Part with a worker; its item is tried again, or ends by ``code``."""
        worker.kill()
        worker.pipe.close()
        self._workers.remove(worker)
        task = worker.task
        if not worker.ready:
            self._failed_to_start(worker, told)
        elif task is not None and not task.before and code != "E_TIMEOUT":
            self._tasks.append(Task(task.item, told, worker.place))
        elif task is not None:
            said = f"{told}, at the second attempt too" if task.before else told
            yield Outcome(task.item, monotonic() - worker.since, None, StudyError(code, said))

    def _failed_to_start(self, worker: Watched[Item], told: str) -> None:
        """Give its place up if it said why; after some deaths in a row if it said nothing."""
        self._deaths[worker.place] += 1
        error = worker.broken
        if error is None and self._deaths[worker.place] >= _TRIES_TO_START:
            error = MedsegError("E_WORKER_DIED", f"no worker could be started: {told}")
        if error is not None and worker.place not in self._broken:
            self._broken[worker.place] = error
            if {*self._crew.places} - {*self._broken}:
                self._hear(None, f"no more work is given to {worker.place}: {error}")
