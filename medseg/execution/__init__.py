"""Floor 2: how work is dealt out. Send studies, get outcomes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
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
        begun = perf_counter()
        try:
            result = work(item)
        except StudyError as error:
            yield Outcome(item, perf_counter() - begun, error=error)
        except MemoryError:
            told = StudyError("E_MEMORY", "the machine has not enough memory for this study")
            yield Outcome(item, perf_counter() - begun, error=told)
        else:
            yield Outcome(item, perf_counter() - begun, result)
