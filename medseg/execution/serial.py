"""One item after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from medseg.execution.outcome import Item, Outcome, Result, attempt


def serial(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Outcome[Item, Result]]:
    """Work on one item after the other, in this process; see ``attempt`` for what may fail."""
    for item in items:
        yield attempt(item, partial(work, item))
