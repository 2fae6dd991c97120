"""While one item is worked on, the next is fetched and the last one put away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar, cast

from medseg.execution.outcome import Item, Outcome, Result, attempt

Fetched = TypeVar("Fetched")
Worked = TypeVar("Worked")


@dataclass(frozen=True)
class Stations(Generic[Item, Fetched, Worked, Result]):
    """What is done with an item, one after the other.

    ``fetch`` and ``store`` have a thread each, ``work`` that of the caller, in which ``turn`` is
    told whose turn it is. ``beside(item, before)`` says whether an item may be fetched while the
    one before it is worked on.
    """

    fetch: Callable[[Item], Fetched]
    work: Callable[[Item, Fetched], Worked]
    store: Callable[[Item, Worked], Result]
    turn: Callable[[Item], object]
    beside: Callable[[Item, Item], bool]


def relay(
    stations: Stations[Item, Fetched, Worked, Result], items: Iterable[Item]
) -> Iterator[Outcome[Item, Result]]:
    """Outcomes in the order of ``items``; an item that fails at one station skips the others.

    At most one item is fetched ahead and one is being stored. Whoever stops listening, or is
    interrupted, waits until the two threads have finished what they had begun.
    """
    with ThreadPoolExecutor(1) as front, ThreadPoolExecutor(1) as back:
        storing: Future[Outcome[Item, Result]] | None = None
        for item, fetched in _fetched(stations, items, front):
            worked = _then(fetched, partial(stations.work, item))
            del fetched
            if storing is not None:
                yield storing.result()
            storing = back.submit(_then, worked, partial(stations.store, item))
            del worked
        if storing is not None:
            yield storing.result()


def _fetched(
    stations: Stations[Item, Fetched, Any, Any],
    items: Iterable[Item],
    front: ThreadPoolExecutor,
) -> Iterator[tuple[Item, Outcome[Item, Fetched]]]:
    """Each item and what was fetched of it, the next one being fetched meanwhile."""

    def begun(item: Item) -> Future[Outcome[Item, Fetched]]:
        return front.submit(attempt, item, partial(stations.fetch, item))

    rest = iter(items)
    held = list(islice(rest, 1))
    ahead: Future[Outcome[Item, Fetched]] | None = None
    while held:
        (item,) = held
        stations.turn(item)
        fetched = (ahead or begun(item)).result()
        held = list(islice(rest, 1))
        ahead = begun(held[0]) if held and stations.beside(held[0], item) else None
        yield item, fetched
        # What was fetched is the worker's alone, so that it can let it go.
        del fetched


def _then(
    before: Outcome[Item, Fetched], work: Callable[[Fetched], Worked]
) -> Outcome[Item, Worked]:
    """The outcome of the next station; an error stays what it is, and seconds add up."""
    if before.error is not None:
        return Outcome(before.item, before.seconds, None, before.error)
    after = attempt(before.item, partial(work, cast(Fetched, before.result)))
    return replace(after, seconds=before.seconds + after.seconds)
