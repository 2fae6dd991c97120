"""Studies that arrive are done when they are complete, once, and again if they change."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from support.runs import everything
from support.studies import ball_studies

from medseg.cli import main
from medseg.image import Study
from medseg.io import Found
from medseg.pipeline import load_pipeline
from medseg.run.predict import predict
from medseg.run.watching import Arrivals, Patience, watch_folder

QUICK = Patience(settle_seconds=0.3, every_seconds=0.05, idle_seconds=1.0)


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
    again = watch_folder(watched.writing_to(tmp_path / "out"), patience=QUICK)
    assert [outcome.state for outcome in again.outcomes] == ["kept"] * 4


def test_a_folder_is_watched_from_the_command_line(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    told = ["watch", str(tmp_path / "images"), "--pipeline", str(path)]
    told += ["--output", str(tmp_path / "out"), "--settle", "0", "--every", "0.05", "--idle", "0"]
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/masks/study_00.nii.gz").is_file()
