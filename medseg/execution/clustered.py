"""Items dealt to the workers of a Dask cluster, one at a time to each, and none of them lost."""

from __future__ import annotations

import pickle
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, count, islice
from queue import Empty, SimpleQueue
from secrets import token_hex
from time import monotonic
from typing import Any, Generic

from medseg.errors import MedsegError, StudyError
from medseg.execution.cluster import Dask, Opened, opened
from medseg.execution.crew import Crew
from medseg.execution.guard import Order, guarded
from medseg.execution.local import Hear, unheard
from medseg.execution.outcome import Item, Outcome, Result
from medseg.execution.watched import Task

_LOOK_SECONDS = 0.5
_RENEW_SECONDS = 20.0
_FETCH_SECONDS = 30.0
_Word = tuple[str, int, Any]


def clustered(
    crew: Crew[Item, Result], items: Iterable[Item], hear: Hear[Item], dask: Dask
) -> Iterator[Outcome[Item, Result]]:
    """Outcomes of ``items`` in order of finishing, as ``supervised`` has them.

    Each worker has a process of the crew beside it, at a place of its own where the cluster is
    this machine, else at the first. An item whose worker was lost is tried once more by another,
    then fails by E_WORKER_DIED. Raises MedsegError E_CLUSTER where the scheduler is lost, or no
    worker comes.
    """
    with closing(Reached(crew, dask)) as cluster:
        yield from cluster.through(iter(items), hear)


class Reached(Generic[Item, Result]):
    """A cluster, from the first item on until it is closed."""

    def __init__(self, crew: Crew[Item, Result], dask: Dask) -> None:
        self._crew, self._dask = crew, dask
        self._open = ExitStack()
        self._dealer: _Dealer[Item, Result] | None = None

    def through(self, items: Iterator[Item], hear: Hear[Item]) -> Iterator[Outcome[Item, Result]]:
        """Outcomes of ``items`` in order of finishing."""
        first = list(islice(items, 1))
        if not first:
            return
        if self._dealer is None:
            crew, dask = self._crew, self._dask
            cluster = self._open.enter_context(opened(dask, len(crew.places), crew.silent_seconds))
            self._dealer = _Dealer(crew, dask, cluster)
            self._open.callback(self._dealer.close)
        yield from self._dealer.through(chain(first, items), hear)

    def close(self) -> None:
        """Let go of what is at work, and leave the cluster."""
        self._open.close()


@dataclass(frozen=True)
class _Errand(Generic[Item]):
    """What a worker has in hand; ``future`` is Dask's."""

    number: int
    task: Task[Item]
    future: Any
    since: float


class _Dealer(Generic[Item, Result]):
    """The workers that there are, what each has in hand, and what waits."""

    def __init__(self, crew: Crew[Item, Result], dask: Dask, cluster: Opened) -> None:
        self._crew, self._dask, self._cluster = crew, dask, cluster
        self._hear: Hear[Item] = unheard
        self._run = f"medseg-{token_hex(6)}"
        self._words: SimpleQueue[_Word] = SimpleQueue()
        self._numbers = count()
        self._again: deque[Task[Item]] = deque()
        self._errands: dict[str, _Errand[Item]] = {}
        self._places: dict[str, str] = {}
        self._broken: dict[str, Exception] = {}
        self._looked, self._renewed, self._seen = 0.0, monotonic(), monotonic()
        cluster.client.subscribe_topic(self._run, self._told)

    def through(self, items: Iterator[Item], hear: Hear[Item]) -> Iterator[Outcome[Item, Result]]:
        """Deal out and listen until nothing is left."""
        self._hear, self._seen = hear, monotonic()
        held = self._next(items)
        while held is not None or self._errands:
            yield from self._looked_after()
            while held is not None and (address := self._idle()) is not None:
                self._give(address, held)
                held = self._next(items)
            yield from self._listened()
            held = held or self._next(items)

    def close(self) -> None:
        """Let go of what is at work; workers notice that, and end it."""
        for errand in self._errands.values():
            errand.future.cancel()
        self._errands.clear()

    def _next(self, items: Iterator[Item]) -> Task[Item] | None:
        if self._again:
            return self._again.popleft()
        for item in items:
            return Task(item)
        return None

    def _idle(self) -> str | None:
        free = (one for one in self._places if one not in self._errands | self._broken)
        return next(free, None)

    def _give(self, address: str, task: Task[Item]) -> None:
        number = next(self._numbers)
        place = self._places[address]
        order = Order(self._run, self._crew, place, number, task.item, task.before)
        # Tied to this worker: should it be lost, Dask does not try the item elsewhere by itself.
        future = self._cluster.client.submit(
            guarded, order, key=f"{self._run}-{number}", workers=[address], pure=False
        )
        self._errands[address] = _Errand(number, task, future, monotonic())
        future.add_done_callback(lambda _: self._words.put(("ended", number, None)))

    def _told(self, event: tuple[float, bytes]) -> None:
        """An event of a worker, heard in a thread of the client's."""
        number, what = pickle.loads(event[1])
        self._words.put(("event", number, what))

    def _listened(self) -> Iterator[Outcome[Item, Result]]:
        try:
            word = self._words.get(timeout=_LOOK_SECONDS)
        except Empty:
            return
        kind, number, what = word
        address = next((a for a, e in self._errands.items() if e.number == number), None)
        if address is None:
            return
        if kind == "event":
            self._hear(self._errands[address].task.item, what)
        else:
            yield from self._ended(address)

    def _ended(self, address: str) -> Iterator[Outcome[Item, Result]]:
        errand = self._errands[address]
        kind, what = self._answer(errand)
        del self._errands[address]
        if kind == "gone":
            # Should there be a worker of this address again, it is another one.
            del self._places[address]
            self._looked = 0.0
            yield from self._parted(errand)
        elif kind == "done":
            yield Outcome(errand.task.item, *what)
        elif kind == "lost":
            self._broken[address] = what
            if self._places.keys() - self._broken.keys():
                self._hear(None, f"no more work is given to a worker: {what}")
            self._again.append(errand.task)
        else:
            raise what

    def _answer(self, errand: _Errand[Item]) -> tuple[str, Any]:
        """What the worker gave back, or what Dask says in its place."""
        from concurrent.futures import CancelledError

        from distributed.scheduler import KilledWorker

        try:
            answer: tuple[str, Any] = errand.future.result(timeout=_FETCH_SECONDS)
            return ("gone", None) if answer[0] == "left" else answer
        except (KilledWorker, CancelledError, TimeoutError, OSError):
            return "gone", None
        except Exception as error:
            told = f"a worker or the scheduler could not read the work: {error}"
            return "lost", MedsegError("E_CLUSTER", f"{told}; they need this medseg as well")

    def _looked_after(self) -> Iterator[Outcome[Item, Result]]:
        """See which workers there are; what those had that are gone is tried again, or ends."""
        now = monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if now - self._renewed > _RENEW_SECONDS:
            self._renewed = now
            self._cluster.renew()
        there = self._there()
        for address in self._places.keys() - there:
            del self._places[address]
            self._broken.pop(address, None)
            if (errand := self._errands.pop(address, None)) is not None:
                yield from self._parted(errand)
        for address in sorted(there - self._places.keys()):
            if (place := self._free_place()) is not None:
                self._places[address] = place
        if self._places.keys() - self._broken.keys():
            self._seen = now
        elif self._broken:
            raise next(iter(self._broken.values()))
        elif now - self._seen > self._dask.wait_seconds:
            told = f"no worker came for {self._dask.wait_seconds:g} s (dask: wait_seconds)"
            raise MedsegError("E_CLUSTER", told)

    def _there(self) -> set[str]:
        try:
            return set(self._cluster.client.nthreads())
        except Exception as error:
            told = f"the Dask scheduler was lost: {type(error).__name__} {error}"
            raise MedsegError("E_CLUSTER", told) from error

    def _free_place(self) -> str | None:
        if self._dask.away:
            return self._crew.places[0]
        free = Counter(self._crew.places) - Counter(self._places.values())
        return next(iter(free), None)

    def _parted(self, errand: _Errand[Item]) -> Iterator[Outcome[Item, Result]]:
        errand.future.cancel()
        told = "the Dask worker that had it was lost: killed, or its machine"
        if not errand.task.before:
            self._again.append(Task(errand.task.item, told))
            return
        error = StudyError("E_WORKER_DIED", f"{told}, at the second attempt too")
        yield Outcome(errand.task.item, monotonic() - errand.since, None, error)
