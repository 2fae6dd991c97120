"""A run by workers: the same bytes as without, and one study's end is its own."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import REPOSITORY
from support.runs import everything, lines, states
from support.studies import ball_studies, save

from medseg.errors import OutputError, PipelineError
from medseg.execution import Hall
from medseg.pipeline import Limits, Site, load_pipeline, load_site
from medseg.run import folder
from medseg.run.dealing import _smaller, check_site
from medseg.run.events import Event, Note, StageStarted, StudyDone, StudyStarted
from medseg.run.job import Job
from medseg.run.predict import RunSummary, predict
from medseg.run.site import limits_of, place_of

PIPELINES = sorted((REPOSITORY / "pipelines").rglob("*.yaml"))
TWO = Site(execution="local", device="cpu", workers=2)


def run(path: Path, output: Path, **options: object) -> RunSummary:
    return predict(load_pipeline(path).writing_to(output), **options)  # type: ignore[arg-type]


def test_workers_make_the_very_bytes_of_a_run_in_one_process(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 5)
    (tmp_path / "images/study_03.nii.gz").write_bytes(b"")
    run(path, tmp_path / "serial")
    heard: list[Event] = []
    summary = run(path, tmp_path / "local", site=TWO, watch=heard.append)
    assert states(summary) == ["done", "done", "done", "failed", "done"]
    assert everything(tmp_path / "local") == everything(tmp_path / "serial")
    begun = [event for event in heard if isinstance(event, StudyStarted)]
    assert sorted(event.name for event in begun) == [f"study_0{n}" for n in range(5)]
    assert sorted(event.index for event in begun) == [1, 2, 3, 4, 5]
    assert {event.total for event in begun} == {5}
    assert all(event.study for event in heard if isinstance(event, StageStarted))
    ends = {event.name: event.state for event in heard if isinstance(event, StudyDone)}
    assert ends["study_03"] == "failed"
    assert {one["study"] for one in lines(tmp_path / "local/runs.jsonl")} == set(ends)
    assert states(run(path, tmp_path / "local", site=TWO)).count("kept") == 4


def test_what_befalls_the_workers_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Hall[Any, Any]):
        def through(self, items: Any, hear: Any, *others: Any) -> Iterator[Any]:
            hear(None, "no more work is given to cuda:1")
            yield from super().through(items, hear, *others)

    monkeypatch.setattr("medseg.run.dealing.Hall", Told)
    heard: list[Event] = []
    run(ball_studies(tmp_path, 1), tmp_path / "out", site=TWO, watch=heard.append)
    assert Note("no more work is given to cuda:1") in heard


def test_a_study_too_large_for_its_worker_costs_only_itself(
    tmp_path: Path,
) -> None:
    path = ball_studies(tmp_path, 3)
    large = np.zeros((220, 220, 220), np.int16)
    save(tmp_path / "images/study_01.nii.gz", large)
    (tmp_path / "labels/study_01.nii.gz").unlink()
    site = replace(TWO, workers=1, limits=Limits(memory_gib=0.05, seconds=300))
    summary = run(path, tmp_path / "out", site=site)
    codes = {o.name: o.error.code for o in summary.failures if o.error}
    assert codes == {"study_01": "E_TOO_LARGE"}
    assert states(summary).count("done") == 2


def test_a_second_attempt_is_said_of_the_mask_and_asks_one_window_at_a_time(tmp_path: Path) -> None:
    text = "name: n\nlabels: {a: 1}\ninference:\n  - sliding_window:\n      batch: 4\n"
    text += "      model: {name: dynunet, widths: [4, 6, 8]}\n      window: [8, 8, 8]\n"
    path = tmp_path / "n.yaml"
    path.write_text(text)
    job = Job(load_pipeline(path), TWO, tmp_path, "", False, str)  # type: ignore[arg-type]
    smaller = _smaller(job, "its process was killed")
    assert [getattr(step, "batch", None) for step in smaller.pipeline.inference] == [1]
    assert [caution.code for caution in smaller.cautions] == ["W_FALLBACK"]
    steady = replace(job, pipeline=replace(job.pipeline, deterministic=True))
    assert _smaller(steady, "").pipeline == steady.pipeline


def test_masks_that_would_depend_on_the_worker_are_refused_beforehand(tmp_path: Path) -> None:
    text = "name: n\nlabels: {a: 1}\ninference:\n  - sliding_window:\n      precision: auto\n"
    text += "      model: {name: dynunet, widths: [4, 6, 8]}\n      window: [8, 8, 8]\n"
    path = tmp_path / "n.yaml"
    path.write_text(text)
    check_site(load_pipeline(path), Site())
    with pytest.raises(PipelineError, match="precision: auto"):
        check_site(load_pipeline(path), TWO)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "pipelines").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_every_pipeline_can_be_sent_to_a_worker(path: Path) -> None:
    pipeline = load_pipeline(path)
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers: 2\n", "workers is for execution: local or dask"),
        ("devices: [cpu]\n", "devices is for execution: local or dask"),
        ("limits: {seconds: 60}\n", "limits: seconds wants execution: local or dask"),
        ("execution: local\nworkers: 0\n", "workers is at least 1"),
        ("execution: local\ndevices: [gpu]\n", "devices is auto, cpu"),
        ("limits: {seconds: 0}\n", "seconds is above 0"),
    ],
)
def test_a_site_says_what_it_cannot_mean(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError) as caught:
        load_site(path)
    assert said in str(caught.value)


def test_workers_share_threads_and_memory() -> None:
    four = Site(execution="local", devices=("cuda:0", "cuda:1"), workers=2)
    assert four.places == ("cuda:0", "cuda:1", "cuda:0", "cuda:1")
    whole, part = limits_of(Site()).memory_gib, limits_of(four).memory_gib
    assert whole is not None
    assert part == pytest.approx(whole / 4)
    worker = place_of(four, "cuda:1")
    assert (worker.device, worker.execution) == ("cuda:1", "serial")
    assert (worker.threads or 0) >= 1
    assert limits_of(worker).memory_gib == part


def test_a_shard_does_not_begin_where_a_whole_run_came_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is let go for a moment, as the shard first has the folder to itself."""
    rival = os.open(tmp_path / folder.LOCK, os.O_RDWR | os.O_CREAT)

    def between(descriptor: int, how: int) -> bool:
        if how == fcntl.LOCK_SH:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return tried(descriptor, how)

    tried = folder._tried
    monkeypatch.setattr(folder, "_tried", between)
    monkeypatch.setattr(folder, "_PATIENCE_SECONDS", 0.1)
    with pytest.raises(OutputError, match="E_LOCKED"), folder.held(tmp_path, shared=True):
        pytest.fail("it began")
    os.close(rival)


def waited(until: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("execution", ["serial", "local", "dask"])
def test_a_terminated_run_writes_its_tables_and_a_second_signal_is_obeyed_at_once(
    tmp_path: Path, execution: str
) -> None:
    count = 120
    path = ball_studies(tmp_path, count)
    site = tmp_path / "site.yaml"
    site.write_text(f"execution: {execution}\ndevice: cpu\n")
    output = tmp_path / "out"
    told = [sys.executable, "-m", "medseg", "run", str(path), "--site", str(site)]
    child = subprocess.Popen([*told, "--output", str(output)], stderr=subprocess.PIPE)
    waited(lambda: len(list(output.glob("studies/*.json"))) > 1, child)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    summary = json.loads((output / "summary.json").read_text())
    assert 0 < summary["done"] <= count
    assert not list(output.rglob("*.tmp"))
    assert child.stderr is not None
    said = child.stderr.read().decode()
    assert "Traceback" not in said
    counted = f"stopped: {summary['done']} done, 0 failed, {count - summary['done']} left"
    assert counted in said
    assert "terminated; what is finished stays" in said
    child.stderr.close()
    before = len(lines(output / "runs.jsonl"))
    again = subprocess.Popen([*told, "--output", str(output), "--overwrite"])
    waited(lambda: len(lines(output / "runs.jsonl")) > before, again)
    again.send_signal(signal.SIGTERM)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 143
    run(path, output)
    assert len(list((output / "masks").glob("*.nii.gz"))) == count
    assert all(nib.load(p).shape == (20, 22, 18) for p in (output / "masks").glob("*.nii.gz"))


def members(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(path.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("execution", ["serial", "local", "dask"])
def test_ctrl_c_on_a_terminal_is_answered_by_one_process(tmp_path: Path, execution: str) -> None:
    """A terminal sends it to all processes of the run."""
    path, output = ball_studies(tmp_path, 40), tmp_path / "out"
    site = tmp_path / "site.yaml"
    site.write_text(f"execution: {execution}\ndevice: cpu\n")
    told = [sys.executable, "-m", "medseg", "run", str(path), "--site", str(site)]
    child = subprocess.Popen(
        [*told, "--output", str(output)], stderr=subprocess.PIPE, start_new_session=True
    )
    waited(lambda: len(list(output.glob("studies/*.json"))) > 1, child)
    os.killpg(child.pid, signal.SIGINT)
    assert child.stderr is not None
    said = child.communicate(timeout=100)[1].decode()
    assert child.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("interrupted; what is finished stays")
    assert json.loads((output / "summary.json").read_text())["done"] > 0
    deadline = time.monotonic() + 60
    while members(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
