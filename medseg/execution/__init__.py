"""Floor 2: how work is dealt out. Send studies, get outcomes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from traceback import clear_frames
from typing import Generic, TypeVar

from medseg.errors import StudyError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """How the work on one item ended: a result or an error, never both."""

    item: Item
    seconds: float
    result: Result | None = None
    error: StudyError | None = None


def serial(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Outcome[Item, Result]]:
    """Work on one item after the other, in this process.

    A StudyError is the item's outcome, and so is memory that ran out. What would befall every
    other item too (a full disk, a model that cannot be used) flies, as a bug does.
    """
    for item in items:
        yield _worked(work, item)


def threaded(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Outcome[Item, Result]]:
    """Work on ``jobs`` items at once, in threads; outcomes come in the order of the items.

    For work that lets go of the interpreter: reading files, NumPy, compiled loops. Otherwise as
    ``serial``; where something flies, items that wait are not begun.
    """
    if jobs < 2:
        yield from serial(work, items)
        return
    waiting: deque[Future[Outcome[Item, Result]]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(_worked, work, item))
                # Some more than are at work, so that none idles while the oldest is still busy.
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _worked(work: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    result, error = None, None
    begun = perf_counter()
    try:
        result = work(item)
    except StudyError as failure:
        _freed(failure)
        error = failure
    except MemoryError:
        error = StudyError("E_MEMORY", "the machine has not enough memory for this study")
    return Outcome(item, perf_counter() - begun, result, error)


def _freed(error: BaseException | None) -> None:
    """Let go of what the work had in hand: a traceback would keep the scan in memory."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
