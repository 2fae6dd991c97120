"""Studies that arrive are done when they are complete, once, and again if they change."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from support.runs import everything
from support.studies import ball_studies

from medseg.cli import main
from medseg.cli.progress import Told
from medseg.image import Study
from medseg.io import Found
from medseg.pipeline import Pipeline, Site, load_pipeline
from medseg.pipeline.parts import Privacy
from medseg.run.events import Event, Note, StudyDone, StudyStarted
from medseg.run.predict import RunSummary, predict
from medseg.run.watching import Arrivals, Patience, watch_folder
from medseg.run.whole import merge, progress

QUICK = Patience(settle_seconds=0.3, every_seconds=0.05, idle_seconds=1.0)
AT_ONCE = Patience(settle_seconds=0, every_seconds=0.05, idle_seconds=0)


def inbox(folder: Path, count: int) -> Pipeline:
    """A folder images/ with studies, which is watched without references, into out/."""
    pipeline = load_pipeline(ball_studies(folder, count)).writing_to(folder / "out")
    return replace(pipeline, input=replace(pipeline.input, reference=None))


def names(summary: RunSummary) -> list[str]:
    return [outcome.name for outcome in summary.outcomes]


def hidden(pipeline: Pipeline, folder: Path) -> Pipeline:
    """The same with hashed names."""
    (key := folder / "key").write_bytes(b"a secret of more than 16 bytes")
    return replace(pipeline, privacy=Privacy("hash", key))


def noted(events: list[Event]) -> list[str]:
    """What was noted, but for the first, that the folder is watched."""
    return [event.text for event in events if isinstance(event, Note)][1:]


def test_a_study_is_complete_when_its_files_have_stayed_as_they_are(tmp_path: Path) -> None:
    now = [0.0]
    arrivals = Arrivals(10, lambda: now[0])
    path = tmp_path / "a.nii"
    found = Found("files", (Study("a", (path,)),), ())

    def ready(at: float) -> int:
        now[0] = at
        return len(arrivals.ready(found))

    assert ready(0) == 0, "it is not there"
    path.write_bytes(b"half")
    assert ready(20) == 0
    path.write_bytes(b"half and more")
    assert ready(29) == 0, "it has grown"
    assert ready(38) == 0
    assert arrivals.waiting
    assert ready(39) == 1
    assert ready(60) == 0, "it was given"
    assert not arrivals.waiting
    path.write_bytes(b"another")
    assert [ready(70), ready(80)] == [0, 1]


def test_what_arrives_while_watching_ends_as_in_a_run(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 4)
    pipeline = load_pipeline(path)
    pipeline = replace(pipeline, input=replace(pipeline.input, reference=None))
    predict(pipeline.writing_to(tmp_path / "run"))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    watched = replace(pipeline, input=replace(pipeline.input, path=inbox))

    def arrive() -> None:
        for scan in sorted((tmp_path / "images").iterdir()):
            data, place = scan.read_bytes(), inbox / scan.name
            with place.open("wb") as file:
                file.write(data[:2000])
                file.flush()
                time.sleep(0.1)
                file.write(data[2000:])

    sender = threading.Thread(target=arrive)
    sender.start()
    summary = watch_folder(watched.writing_to(tmp_path / "out"), patience=QUICK)
    sender.join()
    assert [outcome.state for outcome in summary.outcomes] == ["done"] * 4
    told, wanted = everything(tmp_path / "out"), everything(tmp_path / "run")
    # They say where the scans were, which is another folder.
    assert told.pop("sources.json") != wanted.pop("sources.json")
    assert told == wanted
    plans = [(tmp_path / one / "shards/plan.json").read_bytes() for one in ("out", "run")]
    assert plans[0] == plans[1]
    again = watch_folder(watched.writing_to(tmp_path / "out"), patience=QUICK)
    assert [outcome.state for outcome in again.outcomes] == ["kept"] * 4


def test_a_folder_is_watched_from_the_command_line(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    told = ["watch", str(tmp_path / "images"), "--pipeline", str(path)]
    told += ["--output", str(tmp_path / "out"), "--settle", "0", "--every", "0.05", "--idle", "0"]
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/masks/study_00.nii.gz").is_file()


def test_what_is_gone_is_waited_for_no_longer(tmp_path: Path) -> None:
    now = [0.0]
    arrivals = Arrivals(10, lambda: now[0])
    (path := tmp_path / "tmp.nii").write_bytes(b"all of it")
    assert arrivals.ready(Found("files", (Study("tmp", (path,)),))) == []
    renamed = path.rename(tmp_path / "a.nii")
    found = Found("files", (Study("a", (renamed,)),))
    assert [len(arrivals.ready(found)) for now[0] in (5.0, 15.0)] == [0, 1]
    assert not arrivals.waiting


def test_a_watch_ends_where_the_last_upload_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, looks = inbox(tmp_path, 1), 0

    def away(seconds: float) -> None:
        nonlocal looks
        looks += 1
        assert looks < 100, "it is still waited for"
        shutil.rmtree(tmp_path / "images", ignore_errors=True)

    monkeypatch.setattr("medseg.run.watching.sleep", away)
    assert not watch_folder(pipeline, patience=Patience(1000, 0.05, 0)).outcomes
    assert looks == 1


@pytest.mark.parametrize("ids", ["keep", "hash"])
def test_files_that_share_a_name_wait_and_the_others_go_on(tmp_path: Path, ids: str) -> None:
    pipeline = inbox(tmp_path, 3)
    pipeline = hidden(pipeline, tmp_path) if ids == "hash" else pipeline
    twin = tmp_path / "images/study_01.nii"
    twin.write_bytes(b"another")
    heard: list[Event] = []
    summary = watch_folder(pipeline, patience=QUICK, watch=heard.append)
    assert [outcome.state for outcome in summary.outcomes] == ["done"] * 2
    (note,) = noted(heard)
    assert note.startswith("E_DUPLICATE_ID")
    assert ("study_01" in note) == (ids == "keep")
    twin.unlink()
    again = watch_folder(pipeline, patience=AT_ONCE)
    waited = set(names(again)) - set(names(summary))
    assert len(waited) == 1
    assert waited.pop() in note


@pytest.mark.parametrize("ids", ["keep", "hash"])
def test_where_it_cannot_be_told_which_files_share_a_name_all_wait(
    tmp_path: Path, ids: str
) -> None:
    pipeline = inbox(tmp_path, 2)
    rows = "".join(f"study_0{n},images/study_0{n}.nii.gz\n" for n in (0, 1, 1))
    (tmp_path / "all.csv").write_text(f"study,image\n{rows}")
    pipeline = replace(pipeline, input=replace(pipeline.input, path=tmp_path / "all.csv"))
    pipeline = hidden(pipeline, tmp_path) if ids == "hash" else pipeline
    heard: list[Event] = []
    patience = replace(AT_ONCE, idle_seconds=0.3)
    assert not watch_folder(pipeline, patience=patience, watch=heard.append).outcomes
    (note,) = noted(heard)
    assert ("study_01" in note) == (ids == "keep")


def test_tables_keep_what_was_done_before_a_restart(tmp_path: Path) -> None:
    pipeline = inbox(tmp_path, 3)
    watch_folder(pipeline, patience=AT_ONCE)
    for name in ("study_00", "study_02"):
        (tmp_path / f"images/{name}.nii.gz").unlink()
    (tmp_path / "out/masks/study_02.nii.gz").write_bytes(b"rot")
    summary = watch_folder(pipeline, patience=AT_ONCE)
    assert names(summary) == ["study_01"]
    with (tmp_path / "out/volumes.csv").open() as file:
        assert [row["study"] for row in csv.DictReader(file)] == ["study_00", "study_01"]
    assert json.loads((tmp_path / "out/summary.json").read_text())["done"] == 2
    assert progress(tmp_path / "out").done == ("study_00", "study_01")
    assert merge(tmp_path / "out").left == ()


@pytest.mark.parametrize("execution", ["local", "dask"])
def test_workers_stay_from_round_to_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, execution: Literal["local", "dask"]
) -> None:
    """A scan that arrives later is done by the very process that did the first."""
    pytest.importorskip("distributed")
    begun: list[str] = []
    module, name = {"local": ("local", "Watched"), "dask": ("clustered", "opened")}[execution]
    place = import_module(f"medseg.execution.{module}")
    real = getattr(place, name)

    def counted(*given: Any) -> Any:
        begun.append(name)
        return real(*given)

    monkeypatch.setattr(place, name, counted)
    pipeline = inbox(tmp_path, 2)
    late = tmp_path / "images/study_01.nii.gz"
    late.rename(tmp_path / "late")
    counts: list[tuple[int, int]] = []

    def hear(event: Event) -> None:
        if isinstance(event, StudyStarted):
            counts.append((event.index, event.total))
        if isinstance(event, StudyDone) and event.name == "study_00":
            (tmp_path / "late").rename(late)

    site = Site(execution=execution, device="cpu")
    summary = watch_folder(pipeline, site, AT_ONCE, hear)
    assert names(summary) == ["study_00", "study_01"]
    assert counts == [(1, 1), (2, 2)]
    assert len(begun) == 1
    assert multiprocessing.active_children() == []


def test_what_is_left_is_counted_over_all_rounds(tmp_path: Path) -> None:
    pipeline, said = inbox(tmp_path, 3), list[str]()
    later = (tmp_path / "images/study_02.nii.gz").rename(tmp_path / "later")
    tell = Told(said.append)

    def hear(event: Event) -> None:
        tell(event)
        if isinstance(event, StudyDone) and later.exists():
            later.rename(tmp_path / "images/study_02.nii.gz")

    watch_folder(pipeline, patience=AT_ONCE, watch=hear)
    told = [json.loads(line) for line in said if line.startswith("{")]
    assert [(one["done"], one["left"]) for one in told] == [(1, 1), (2, 0), (3, 0)]


def test_a_folder_that_is_moved_while_it_is_looked_at_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(folder: Path, pattern: str) -> Iterator[Path]:
        raise FileNotFoundError(2, "No such file or directory", str(folder))

    arrivals = Arrivals(0)
    found = Found("files", (Study("a", (tmp_path,)),))
    (tmp_path / "slice").write_bytes(b"a")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rglob", moved)
        assert arrivals.ready(found) == []
    assert len(arrivals.ready(found)) == 1
