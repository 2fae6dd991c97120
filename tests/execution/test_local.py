"""Workers that are killed, hang, eat memory or crash: one item is lost, told why, no other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from support.crews import Work, dying, making, refusing

from medseg.errors import MedsegError, OutputError, PipelineError
from medseg.execution import Crew, Hall, Outcome, local, supervised, watched

Ended = dict[str, Outcome[str, str]]


def unheard(item: str | None, event: Any) -> None:
    del item, event


def crew(count: int = 1, **options: Any) -> Crew[str, str]:
    places = tuple(f"place {number}" for number in range(count))
    return Crew(making, places, beat_seconds=0.2, **options)


def done(
    asked: Crew[str, str],
    items: Iterable[str],
    hear: Callable[[str | None, Any], object] = unheard,
) -> Ended:
    return {outcome.item: outcome for outcome in supervised(asked, items, hear)}


def code(outcome: Outcome[str, str]) -> str:
    assert outcome.error is not None
    return outcome.error.code


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_two_workers_do_everything_and_tell_of_it_in_order_of_finishing() -> None:
    heard: list[tuple[str | None, Any]] = []
    items = ["sleep 0.4 long", *(f"sleep 0.01 {number}" for number in range(6))]
    outcomes = list(supervised(crew(2), items, lambda item, event: heard.append((item, event))))
    assert sorted(outcome.item for outcome in outcomes) == sorted(items)
    assert all(outcome.error is None for outcome in outcomes)
    assert {(item, f"begun {item}") for item in items} == set(heard)
    by = {str(outcome.result).rpartition(" by ")[2] for outcome in outcomes}
    assert 1 <= len(by) <= 2
    assert str(os.getpid()) not in by
    long = next(outcome for outcome in outcomes if "long" in outcome.item)
    assert long.seconds >= 0.4
    assert multiprocessing.active_children() == []


def test_a_worker_does_one_item_after_the_other_in_the_same_process() -> None:
    found = done(crew(), ["a", "b", "fail x.nii", "c"])
    pids = {str(found[item].result).rpartition(" ")[2] for item in "abc"}
    assert len(pids) == 1
    assert code(found["fail x.nii"]) == "E_TRUNCATED"
    assert "x.nii" in str(found["fail x.nii"].error)


def test_whoever_kills_hangs_or_eats_memory_is_explained_and_all_others_are_done() -> None:
    bad = ["die", "hang", "eat", "crash", "exit 7"]
    good = [f"sleep 0.01 {number}" for number in range(12)]
    items = [*good[:3], *bad[:2], *good[3:6], *bad[2:], *good[6:]]
    found = done(crew(2, seconds=10, memory_gib=0.15), items)
    assert {item for item in found if found[item].error is None} == set(good)
    assert {item: code(found[item]) for item in bad} == {
        "die": "E_WORKER_DIED",
        "hang": "E_TIMEOUT",
        "eat": "E_MEMORY",
        "crash": "E_WORKER_DIED",
        "exit 7": "E_WORKER_DIED",
    }
    said = {item: str(found[item].error) for item in bad}
    assert "killed from outside, likely out of memory" in said["die"]
    assert "GiB of the machine's" in said["die"]
    assert "at the second attempt too" in said["die"]
    assert "limits.seconds, 10" in said["hang"]
    assert "it may take 0.15" in said["eat"]
    assert "SIGSEGV" in said["crash"]
    assert "exit code 7" in said["exit 7"]


def test_what_dies_once_is_done_at_the_second_attempt() -> None:
    found = done(crew(), ["a", "die_once", "b"])
    assert all(outcome.error is None for outcome in found.values())
    assert str(found["die_once"].result).endswith("again")


def test_a_device_that_is_lost_costs_a_new_process_and_nothing_else() -> None:
    found = done(crew(), ["lose", "b"])
    assert str(found["lose"].result).endswith("again")
    assert found["b"].error is None


def test_one_of_two_workers_killed_from_outside_loses_nothing() -> None:
    killed: list[int] = []

    def hear(item: str, event: Any) -> None:
        del event
        children = [child.pid or 0 for child in multiprocessing.active_children()]
        if item == "sleep 0.3 2" and not killed:
            killed.append(min(children))
            os.kill(killed[0], signal.SIGKILL)

    found = done(crew(2), [f"sleep 0.3 {number}" for number in range(6)], hear)
    assert killed
    assert len(found) == 6
    assert all(outcome.error is None for outcome in found.values())


def test_a_worker_that_stands_still_is_noticed_by_its_silence() -> None:
    found = done(crew(silent_seconds=3), ["a", "stop", "b"])
    assert code(found["stop"]) == "E_WORKER_DIED"
    assert "no sign for 3 s" in str(found["stop"].error)
    assert found["a"].error is found["b"].error is None


@pytest.mark.parametrize("limit", ["seconds", "silent_seconds"])
def test_who_is_long_about_an_outcome_costs_no_other_item_its_worker(limit: str) -> None:
    long, begun, blocked = "sleep 1 long", set[str](), False
    found: Ended = {}
    outcomes = supervised(
        crew(2, **{limit: 1.8}),
        [long, *(f"sleep 0.05 {number}" for number in range(6))],
        lambda item, _: begun.add(item),
    )
    for outcome in outcomes:
        found[outcome.item] = outcome
        if long in begun and not blocked:
            blocked = True
            time.sleep(2.5)
    assert [outcome.error for outcome in found.values()] == [None] * 7
    assert not str(found[long].result).endswith("again")


def test_a_worker_that_cannot_be_killed_is_given_up_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join = SpawnProcess.join

    def joined(process: SpawnProcess, timeout: float | None = None) -> None:
        assert timeout is not None, "waits for ever"
        join(process, timeout)

    monkeypatch.setattr(local, "PARTING_SECONDS", 0.1)
    monkeypatch.setattr(watched, "PARTING_SECONDS", 0.1)
    monkeypatch.setattr(os, "killpg", unheard)
    monkeypatch.setattr(SpawnProcess, "kill", lambda _: None)
    monkeypatch.setattr(SpawnProcess, "join", joined)
    found = done(crew(seconds=1), ["hang", "a"])
    assert code(found["hang"]) == "E_TIMEOUT"
    assert found["a"].error is None
    # For those Python would wait before it exits.
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("item", "error", "said"),
    [
        ("full out", OutputError, "E_DISK_FULL"),
        ("bug", ZeroDivisionError, "a bug"),
        ("absent x", FileNotFoundError, "a bug, too"),
        ("odd_bug", RuntimeError, "holds what cannot be sent"),
    ],
)
def test_what_would_befall_every_item_flies_out_of_workers_too(
    item: str, error: type[Exception], said: str
) -> None:
    outcomes = supervised(crew(), ["a", item, "b"], unheard)
    assert next(outcomes).item == "a"
    with pytest.raises(error, match=said) as caught:
        next(outcomes)
    assert "in a worker process" in "".join(caught.value.__notes__)
    assert multiprocessing.active_children() == []


def test_workers_that_cannot_begin_end_the_run_with_the_reason() -> None:
    with pytest.raises(OutputError, match="E_PERMISSION"):
        done(Crew(refusing, ("cpu",)), ["a"])
    with pytest.raises(MedsegError, match=r"no worker could be started: .* exit code 3"):
        done(Crew(dying, ("cpu",)), ["a"])


def at_odds(place: str, tell: Callable[[object], None]) -> Work:
    """Work; at places that begin otherwise it is refused, or the process dies."""
    word, _, path = place.partition(" ")
    if path:
        with Path(path).open("a") as tries:
            tries.write("x")
    if word == "refuse":
        raise PipelineError("E_CONFIG", f"there is no {place}")
    if word == "fall":
        os._exit(3)
    return making(place, tell)


@pytest.mark.parametrize(("word", "tries"), [("refuse", 1), ("fall", 2)])
def test_a_place_where_no_worker_can_begin_is_given_up_and_the_others_do_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, tries: int
) -> None:
    monkeypatch.setattr(local, "_TRIES_TO_START", 2)
    tried = tmp_path / "tried"

    def items() -> Iterator[str]:
        while not tried.is_file() or tried.stat().st_size < tries:
            yield f"sleep 0.1 {time.monotonic()}"
        yield from ("sleep 0.7 a", "sleep 0.7 b", "c")

    bad, told = f"{word} {tried}", list[str]()
    asked = Crew(at_odds, (bad, "sound"))
    found = done(asked, items(), lambda item, event: None if item else told.append(event))
    (said,) = told
    assert said.startswith(f"no more work is given to {bad}: E_")
    assert "c" in found
    assert all("at sound" in str(outcome.result) for outcome in found.values())
    assert tried.read_text() == "x" * tries


def at_the_second_try(place: str, tell: Callable[[object], None]) -> Work:
    """Work, where a worker of this place was begun before."""
    if not (mark := Path(place)).is_file():
        mark.touch()
        raise PipelineError("E_CONFIG", "the device is taken")
    return making(place, tell)


def test_a_crew_that_goes_on_tries_again_where_no_worker_could_begin(tmp_path: Path) -> None:
    with closing(Hall[str, str](Crew(at_the_second_try, (str(tmp_path / "mark"),)))) as hall:
        with pytest.raises(PipelineError, match="the device is taken"):
            list(hall.through(iter(["a"]), unheard))
        assert [outcome.item for outcome in hall.through(iter(["b"]), unheard)] == ["a", "b"]
    assert multiprocessing.active_children() == []


def test_the_first_reason_flies_once_no_place_is_left(tmp_path: Path) -> None:
    places = (f"refuse {tmp_path / 'one'}", f"refuse {tmp_path / 'other'}")
    with pytest.raises(PipelineError, match="E_CONFIG: there is no refuse"):
        done(Crew(at_odds, places), ["a", "b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]
    assert multiprocessing.active_children() == []


def unlike(place: str, tell: Callable[[object], None]) -> Work:
    """Work; at a bad place it begins when the other's is long at work, and ends its process."""
    kind, _, folder = place.partition(" ")
    starts, busy = Path(folder) / "starts", Path(folder) / "busy"

    def end(item: str, before: str) -> str:
        os._exit(3)

    def work(item: str, before: str) -> str:
        while item == "long" and (not starts.is_file() or starts.stat().st_size < 2):
            busy.touch()
            time.sleep(0.02)
        return making(place, tell)(f"sleep 0.7 {item}", before)

    if kind == "good":
        return work
    with starts.open("a") as told:
        told.write("x")
    while not busy.is_file():
        time.sleep(0.02)
    return end


def test_a_second_attempt_waits_for_another_place_where_there_is_one(tmp_path: Path) -> None:
    found = done(Crew(unlike, (f"bad {tmp_path}", f"good {tmp_path}")), ["long", "a"])
    assert found["a"].error is None
    assert "a at good" in str(found["a"].result)
    assert str(found["a"].result).endswith("again")


def test_items_are_taken_as_workers_are_free() -> None:
    taken: list[int] = []

    def items() -> Iterator[str]:
        for number in range(50):
            taken.append(number)
            yield f"{number}"

    outcomes = supervised(crew(), items(), unheard)
    next(outcomes)
    assert len(taken) <= 4
    outcomes.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_nothing_to_do_starts_no_process() -> None:
    assert done(crew(2), []) == {}


PARENT = """
import sys
from support.crews import making
from medseg.execution import Crew, supervised

if __name__ == "__main__":
    for _ in supervised(Crew(making, ("a", "b")), sys.argv[1:], lambda item, event: None):
        pass
"""


def test_workers_of_a_caller_that_was_killed_do_not_live_on(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    marks = [tmp_path / "one", tmp_path / "two"]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    told = [sys.executable, str(script), *(f"touch {mark}" for mark in marks)]
    caller = subprocess.Popen(told, env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 60
    while not all(mark.is_file() and mark.read_text() for mark in marks):
        assert time.monotonic() < deadline, "the workers never began"
        time.sleep(0.02)
    caller.kill()
    caller.wait()
    assert all(gone(int(mark.read_text())) for mark in marks)


def leave() -> None:
    os.setpgid(0, 0)


def test_a_group_is_killed_only_while_its_number_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(watched.os, "killpg", lambda pid, _: killed.append(pid))
    context = multiprocessing.get_context("spawn")
    for reaped in (False, True):
        ours, theirs = context.Pipe()
        process = context.Process(target=leave, daemon=True)
        process.start()
        worker: Any = watched.Watched("cpu", process, ours, ready=True)
        deadline = time.monotonic() + 60
        while not worker.ended():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if reaped:
            process.join()
        worker.kill()
        assert killed == [process.pid] * (not reaped)
        assert process.exitcode == 0
        killed.clear()
        ours.close()
        theirs.close()


def test_studies_and_errors_can_be_sent() -> None:
    from medseg.errors import Complaint, PipelineError
    from medseg.image import Study

    study = Study("a", (Path("a.nii"),), None, {"site": "here"})
    assert pickle.loads(pickle.dumps(study)) == study
    error = PipelineError("E_CONFIG", "one", "p", (Complaint("p", 1, 1, "k", "m"),))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.complaints) == (str(error), error.complaints)
