"""Fetching ahead and storing behind: the order, the bounds, the errors, a clean stop."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

import numpy as np
import pytest

from medseg.errors import OutputError, StudyError
from medseg.execution import Stations, relay


def stations(
    fetch: Callable[[int], Any] = lambda item: item,
    work: Callable[[int, Any], Any] = lambda _, fetched: fetched,
    store: Callable[[int, Any], Any] = lambda _, worked: worked,
    turn: Callable[[int], object] = str,
    beside: Callable[[int, int], bool] = lambda item, before: item > before,
) -> Stations[int, Any, Any, Any]:
    return Stations(fetch, work, store, turn, beside)


def test_outcomes_come_in_order_whatever_takes_long() -> None:
    def slow(item: int) -> int:
        sleep(0.02 * (item == 1))
        return item * 10

    def add(item: int, fetched: int) -> int:
        return fetched + item

    turns: list[int] = []
    outcomes = list(relay(stations(slow, add, turn=turns.append), range(4)))
    assert [(o.item, o.result, o.error) for o in outcomes] == [
        (0, 0, None),
        (1, 11, None),
        (2, 22, None),
        (3, 33, None),
    ]
    assert turns == [0, 1, 2, 3]
    assert outcomes[1].seconds >= 0.02


def test_the_three_stations_are_busy_at_once() -> None:
    meet = threading.Barrier(3, timeout=20)

    def fetch(item: int) -> int:
        if item == 2:
            meet.wait()
        return item

    def work(item: int, fetched: int) -> int:
        if item == 1:
            meet.wait()
        return fetched

    def store(item: int, worked: int) -> int:
        if item == 0:
            meet.wait()
        return worked

    assert [o.result for o in relay(stations(fetch, work, store), range(3))] == [0, 1, 2]


def test_no_more_than_one_item_is_fetched_ahead() -> None:
    fetched: list[int] = []

    def work(item: int, _: Any) -> None:
        sleep(0.02)
        assert fetched[-1] <= item + 1

    assert all(o.error is None for o in relay(stations(fetched.append, work), range(5)))


def test_what_may_not_be_held_beside_is_fetched_when_its_turn_has_come() -> None:
    told: list[str] = []

    def fetch(item: int) -> None:
        told.append(f"fetch {item}")

    def work(item: int, _: Any) -> None:
        sleep(0.01)
        told.append(f"work {item}")

    alone = stations(fetch, work, beside=lambda item, before: item == before)
    list(relay(alone, range(3)))
    assert told == ["fetch 0", "work 0", "fetch 1", "work 1", "fetch 2", "work 2"]


@pytest.mark.parametrize("where", ["fetch", "work", "store"])
def test_a_study_that_fails_at_one_station_is_a_value_and_skips_the_others(where: str) -> None:
    told: list[str] = []

    def station(name: str) -> Callable[..., int]:
        def run(item: int, *_: Any) -> int:
            told.append(f"{name} {item}")
            if name == where and item == 1:
                raise StudyError("E_TRUNCATED", "ends early", "b.nii")
            return item

        return run

    line = stations(station("fetch"), station("work"), station("store"))
    first, second, third = relay(line, range(3))
    assert (first.result, third.result) == (0, 2)
    assert second.error is not None
    assert second.error.code == "E_TRUNCATED"
    after = {"fetch": ["work 1", "store 1"], "work": ["store 1"], "store": []}[where]
    assert not set(after) & set(told)


def test_memory_that_runs_out_while_fetching_is_the_items_own() -> None:
    def fetch(item: int) -> int:
        if item == 0:
            raise MemoryError
        return item

    first, second = relay(stations(fetch), range(2))
    assert first.error is not None
    assert first.error.code == "E_MEMORY"
    assert second.result == 1


@pytest.mark.parametrize("where", ["fetch", "store"])
def test_a_bug_in_a_thread_flies_as_one_in_the_callers(where: str) -> None:
    def broken(item: int, *_: Any) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(relay(stations(**{where: broken}), range(3)))


def test_a_full_disk_ends_the_relay_after_what_was_done() -> None:
    stored: list[int] = []

    def store(item: int, _: Any) -> int:
        if item == 1:
            raise OutputError("E_DISK_FULL", "is full", "out")
        stored.append(item)
        return item

    outcomes = relay(stations(store=store), range(4))
    assert next(outcomes).item == 0
    with pytest.raises(OutputError):
        next(outcomes)
    assert stored == [0]


def test_whoever_stops_listening_waits_for_what_was_begun_and_no_more() -> None:
    stored: list[int] = []

    def store(item: int, _: Any) -> int:
        sleep(0.02)
        stored.append(item)
        return item

    outcomes = relay(stations(store=store), range(100))
    assert next(outcomes).item == 0
    outcomes.close()  # type: ignore[attr-defined]
    assert stored == [0]
    assert threading.active_count() < 20


def test_items_are_let_go_once_they_are_done() -> None:
    scans: list[weakref.ref[Any]] = []

    def fetch(item: int) -> Any:
        data = np.zeros(1000)
        scans.append(weakref.ref(data))
        return data

    def work(item: int, fetched: Any) -> int:
        return int(fetched.sum())

    def living() -> Iterator[int]:
        for _ in relay(stations(fetch, work), range(6)):
            gc.collect()
            yield sum(ref() is not None for ref in scans)

    # The one at work, and the one that is fetched ahead.
    assert max(living()) <= 2
