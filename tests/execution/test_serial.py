"""One item after the other: errors that are values, bugs that fly, memory that is let go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from time import sleep

import numpy as np
import pytest

from medseg.errors import MedsegError, ModelError, OutputError, StudyError
from medseg.execution import Outcome, serial, threaded


def test_results_come_in_order_with_the_time_they_took() -> None:
    def work(seconds: float) -> str:
        sleep(seconds)
        return f"{seconds}"

    outcomes = list(serial(work, [0.02, 0.0]))
    assert [(o.item, o.result, o.error) for o in outcomes] == [
        (0.02, "0.02", None),
        (0.0, "0.0", None),
    ]
    assert 0.02 <= outcomes[0].seconds < 5
    assert 0 <= outcomes[1].seconds < outcomes[0].seconds


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    outcomes = serial(lambda number: number * 10, items())
    assert taken == []
    assert next(outcomes) == Outcome(0, pytest.approx(0, abs=5), 0)
    assert taken == [0]
    assert [o.result for o in outcomes] == [10, 20]


def test_a_study_that_cannot_be_done_is_a_value_and_work_goes_on() -> None:
    broken = StudyError("E_TRUNCATED", "ends early", "b.nii")

    def work(name: str) -> str:
        if name == "b":
            raise broken
        return name.upper()

    first, second, third = serial(work, "abc")
    assert (first.result, third.result) == ("A", "C")
    assert second.error is broken
    assert second.result is None


def test_memory_that_runs_out_is_the_studys_outcome() -> None:
    def work(size: int) -> int:
        return np.empty(size, np.uint8).size

    first, second, third = serial(work, [1, 2**60, 1])
    assert (first.result, third.result) == (1, 1)
    assert second.error is not None
    assert second.error.code == "E_MEMORY"
    assert second.error.__context__ is None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        KeyboardInterrupt(),
        ModelError("E_CHECKPOINT", "no weights"),
        OutputError("E_DISK_FULL", "no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_befall_every_item_flies(error: BaseException) -> None:
    def work(_: int) -> None:
        raise error

    outcomes = serial(work, [1, 2])
    with pytest.raises(type(error)) as caught:
        next(outcomes)
    assert caught.value is error
    assert isinstance(error, StudyError) is False
    assert isinstance(error, MedsegError) is (type(error) in (ModelError, OutputError))


class Scan:
    """Stands for half a gigabyte."""


def test_an_error_that_is_kept_does_not_keep_the_scan() -> None:
    alive: list[weakref.ref[Scan]] = []

    def read(scan: Scan) -> None:
        kept = scan
        raise ValueError(f"{type(kept).__name__} is damaged")

    def work(_: int) -> None:
        scan = Scan()
        alive.append(weakref.ref(scan))
        try:
            read(scan)
        except ValueError as error:
            raise StudyError("E_NONFINITE", "not finite") from error

    outcomes = list(serial(work, [1, 2]))
    gc.collect()
    assert [o.error.code for o in outcomes if o.error] == ["E_NONFINITE"] * 2
    assert len(alive) == 2
    assert all(scan() is None for scan in alive)
    cause = outcomes[0].error.__cause__ if outcomes[0].error else None
    assert str(cause) == "Scan is damaged"
    assert cause is not None
    assert cause.__traceback__ is not None


def test_a_result_is_let_go_before_the_next_item_is_worked_on() -> None:
    alive: list[weakref.ref[Scan]] = []

    def work(_: int) -> Scan:
        assert all(scan() is None for scan in alive)
        scan = Scan()
        alive.append(weakref.ref(scan))
        return scan

    for outcome in serial(work, [1, 2, 3]):
        assert isinstance(outcome.result, Scan)
        del outcome
    assert len(alive) == 3


def test_threads_give_outcomes_in_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise StudyError("E_EMPTY_FILE", "holds no bytes")
        sleep(0.02 * (8 - number) / 8)
        return number * 10

    for jobs in (1, 3):
        outcomes = list(threaded(work, range(8), jobs))
        assert [o.item for o in outcomes] == list(range(8))
        assert [o.result for o in outcomes] == [0, 10, None, *range(30, 80, 10)]
        assert [o.item for o in outcomes if o.error] == [2]


def test_what_would_befall_every_item_flies_out_of_threads_too() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise OutputError("E_DISK_FULL", "no room")
        sleep(0.01)
        return number

    with pytest.raises(OutputError):
        list(threaded(work, range(100), 2))
    assert len(begun) < 20
