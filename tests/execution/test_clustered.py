"""A Dask cluster of real processes: the same outcomes as those of this machine's own workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from support.clusters import ENV, running
from support.crews import making, refusing

from medseg.errors import MedsegError, OutputError
from medseg.execution import Crew, Dask, Outcome, clustered

pytest.importorskip("distributed")
Ended = dict[str, Outcome[str, str]]
HERE = Dask(wait_seconds=60)


def unheard(item: str | None, event: Any) -> None:
    del item, event


def crew(count: int = 1, **options: Any) -> Crew[str, str]:
    places = tuple(f"place {number}" for number in range(count))
    return Crew(making, places, beat_seconds=0.2, **options)


def done(
    asked: Crew[str, str], items: Iterable[str], hear: Callable[[str | None, Any], object] = unheard
) -> Ended:
    return {outcome.item: outcome for outcome in clustered(asked, items, hear, HERE)}


def code(outcome: Outcome[str, str]) -> str:
    assert outcome.error is not None
    return outcome.error.code


def parent(pid: int) -> int:
    """The process that started another: of a study's process, the Dask worker beside it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
def test_one_of_two_workers_killed_one_that_kills_one_that_hangs_and_one_that_eats(
    tmp_path: Path,
) -> None:
    """All other studies are done, and the four are explained."""
    bad = ["die", "hang", "eat", "crash", "exit 7", "fail x.nii"]
    good = [f"sleep 0.02 {number}" for number in range(12)]
    killer = f"kill_parent_once {tmp_path / 'mark'}"
    items = [*good[:3], killer, *bad[:2], *good[3:6], *bad[2:], *good[6:]]
    heard: list[tuple[str | None, Any]] = []
    found = done(crew(2, seconds=25, memory_gib=0.15), items, lambda *told: heard.append(told))
    assert {item for item in found if found[item].error is None} == {*good, killer}
    assert {item: code(found[item]) for item in bad} == {
        "die": "E_WORKER_DIED",
        "hang": "E_TIMEOUT",
        "eat": "E_MEMORY",
        "crash": "E_WORKER_DIED",
        "exit 7": "E_WORKER_DIED",
        "fail x.nii": "E_TRUNCATED",
    }
    said = {item: str(found[item].error) for item in bad}
    assert "killed from outside, likely out of memory" in said["die"]
    assert "at the second attempt too" in said["die"]
    assert "limits.seconds, 25" in said["hang"]
    assert "it may take 0.15" in said["eat"]
    assert "SIGSEGV" in said["crash"]
    assert str(found[killer].result).endswith("again")
    places = {str(found[item].result).split(" at ")[1].split(" by ")[0] for item in good}
    assert places <= {"place 0", "place 1"}
    assert {item for item, _ in heard} == set(items)


@pytest.mark.slow
def test_a_study_that_ends_every_dask_worker_is_given_up_and_the_others_are_done() -> None:
    found = done(crew(2), ["a", "kill_parent", "b", "c"])
    assert code(found["kill_parent"]) == "E_WORKER_DIED"
    assert "Dask worker that had it was lost" in str(found["kill_parent"].error)
    assert "at the second attempt too" in str(found["kill_parent"].error)
    assert all(found[item].error is None for item in "abc")


def test_a_process_is_kept_for_the_next_item_and_items_are_taken_as_workers_are_free() -> None:
    taken: list[int] = []

    def items() -> Iterator[str]:
        for number in range(9):
            taken.append(number)
            yield f"{number}"

    outcomes = clustered(crew(), items(), unheard, HERE)
    first = next(outcomes)
    assert len(taken) <= 2
    pids = {str(one.result).rpartition(" ")[2] for one in [first, *outcomes]}
    assert len(pids) == 1
    assert str(os.getpid()) not in pids
    assert len(taken) == 9


@pytest.mark.parametrize(
    ("item", "error", "said"),
    [("full out", OutputError, "E_DISK_FULL"), ("odd_bug", RuntimeError, "cannot be sent")],
)
def test_what_would_befall_every_item_flies_out_of_clusters_too(
    item: str, error: type[Exception], said: str
) -> None:
    outcomes = clustered(crew(), ["a", item, "b"], unheard, HERE)
    assert next(outcomes).item == "a"
    with pytest.raises(error, match=said) as caught:
        next(outcomes)
    assert "in a worker process" in "".join(caught.value.__notes__)


@pytest.mark.slow
def test_workers_that_cannot_begin_end_the_run_with_the_reason_and_their_machine() -> None:
    with pytest.raises(OutputError, match=r"E_PERMISSION.*\(on "):
        list(clustered(Crew(refusing, ("cpu",)), ["a"], unheard, HERE))


def test_a_scheduler_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.execution.cluster._CONNECT_SECONDS", 1)
    nowhere = Dask(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(MedsegError, match=r"E_CLUSTER: there is no way to Dask at tcp://127"):
        list(clustered(crew(), ["a"], unheard, nowhere))


def test_nothing_to_do_starts_no_cluster() -> None:
    assert done(crew(2), []) == {}


def await_end(pid: int) -> None:
    deadline = monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert monotonic() < deadline
        sleep(0.02)


def listening() -> set[str]:
    """The addresses, in hexadecimal, at which this session's processes listen."""
    mine = {os.getpid()}
    for _ in range(4):
        mine |= {int(p.name) for p in Path("/proc").glob("[0-9]*") if _parent(p) in mine}
    sockets = {link for pid in mine for link in _open(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.add(words[1].partition(":")[0])
    return found


def _parent(process: Path) -> int:
    try:
        return parent(int(process.name))
    except OSError:
        return 0


def _open(pid: int) -> list[str]:
    try:
        return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def test_a_cluster_of_this_machine_listens_to_this_machine_alone() -> None:
    outcomes = clustered(crew(), ["a", "b"], unheard, HERE)
    next(outcomes)
    assert listening() == {"0100007F"}
    outcomes.close()  # type: ignore[attr-defined]


def test_whoever_stops_listening_leaves_no_process_behind() -> None:
    outcomes = clustered(crew(), ["a", "hang"], unheard, HERE)
    pid = int(str(next(outcomes).result).rpartition(" ")[2])
    assert parent(pid) not in (0, 1)
    outcomes.close()  # type: ignore[attr-defined]
    await_end(pid)


CALLER = """
import sys
from support.clusters import ENV, running
from support.crews import making
from medseg.execution import Crew, Dask, clustered

if __name__ == "__main__":
    crew, dask = Crew(making, ("cpu",)), Dask(scheduler=sys.argv[1])
    list(clustered(crew, sys.argv[2:], lambda item, event: None, dask))
"""


@pytest.mark.slow
def test_a_scheduler_of_others_outlives_a_caller_and_a_run_its_scheduler(tmp_path: Path) -> None:
    script, mark = tmp_path / "caller.py", tmp_path / "mark"
    script.write_text(CALLER)
    with running(tmp_path) as cluster:
        told = [sys.executable, str(script), cluster.address, f"touch {mark}"]
        caller = subprocess.Popen(told, env=ENV)
        while not mark.is_file() or not mark.read_text():
            assert caller.poll() is None
            sleep(0.05)
        caller.kill()
        caller.wait()
        # Nobody waits for that study any more, and the worker is free for another.
        await_end(int(mark.read_text()))
        there = Dask(scheduler=cluster.address, wait_seconds=60)
        outcomes = clustered(crew(), ["a", "hang"], unheard, there)
        assert str(next(outcomes).result).startswith("a at place 0")
        cluster.scheduler.kill()
        with pytest.raises(MedsegError, match="E_CLUSTER: the Dask scheduler was lost"):
            next(outcomes)
