"""Several items at once, in threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from medseg.execution.outcome import Item, Outcome, Result, attempt
from medseg.execution.serial import serial


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
                waiting.append(pool.submit(attempt, item, partial(work, item)))
                # Some more than are at work, so that none idles while the oldest is still busy.
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
