"""How the work on one item ended."""

from __future__ import annotations

from collections.abc import Callable
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


def attempt(item: Item, work: Callable[[], Result]) -> Outcome[Item, Result]:
    """Do the work on an item, and time it.

    A StudyError is the item's outcome, and so is memory that ran out. What would befall every
    other item too (a full disk, a model that cannot be used) flies, as a bug does.
    """
    result, error = None, None
    begun = perf_counter()
    try:
        result = work()
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
