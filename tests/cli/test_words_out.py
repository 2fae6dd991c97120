"""How complaints, tables and progress look, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from medseg.cli.complaints import lines_of, shown, tell
from medseg.cli.progress import Lines, Live, Told, watching
from medseg.cli.progress import lines_of as lines_of_event
from medseg.cli.tables import aligned
from medseg.errors import Complaint, PipelineError, StudyError
from medseg.run.events import EpochDone, Event, Note, StageStarted, StudyDone, StudyStarted


def complaint(source: str, column: int) -> Complaint:
    return Complaint("a.yaml", 3, column, "name", "is wrong", source)


def test_the_caret_stands_under_the_column() -> None:
    assert lines_of(complaint("name: x", 7)) == [
        "a.yaml:3:7: name: is wrong",
        "    name: x",
        "          ^",
    ]


def test_the_caret_keeps_its_place_after_tabs_and_wide_letters() -> None:
    assert lines_of(complaint("\tname: x", 2))[2] == "    \t^"
    assert lines_of(complaint("肝: x", 4))[2] == "        ^"
    assert lines_of(complaint("e\u0301: x", 3))[2] == "     ^"


def test_an_empty_line_is_not_shown() -> None:
    assert lines_of(complaint("  ", 1)) == ["a.yaml:3:1: name: is wrong"]


def test_nothing_that_is_read_can_steer_the_terminal() -> None:
    assert shown("a\x1b[2Jb\x07\r") == "a\\x1b[2Jb\\x07\\x0d"
    assert all("\x1b" not in line for line in lines_of(complaint("\x1b[31m: x", 7)))
    assert lines_of_event(Note("\x1b[31mred")) == ["\\x1b[31mred"]


def test_paths_begin_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = StudyError("E_TRUNCATED", "ends early", tmp_path / "a.nii")
    assert shown(str(error)) == "E_TRUNCATED a.nii: ends early"


def test_a_single_complaint_is_counted_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    tell(PipelineError("E_CONFIG", "one mistake", "a.yaml", (complaint("name: x", 7),)))
    assert capsys.readouterr().err.splitlines()[-1] == "E_CONFIG: one mistake; nothing was done"


def test_columns_line_up_numbers_to_the_right() -> None:
    assert aligned([("label", "ml"), ("liver", "1500.25"), ("x", "-")]) == [
        "label       ml",
        "liver  1500.25",
        "x            -",
    ]


def test_events_are_plain_lines() -> None:
    said = [
        line
        for event in (
            Note("3 studies"),
            StudyStarted("a", 1, 2),
            StageStarted("read"),
            StudyDone("a", "done", 1.25),
            StudyDone("b", "failed", 0.1, "E_TRUNCATED: ends early"),
            EpochDone(4, 1.5, 1.02, 0.25, 1e-3, {"liver": 0.9, "tumour": None}),
            EpochDone(5, 1.5, 0.5, 0.25, 1e-3),
        )
        for line in lines_of_event(event)
    ]
    assert said == [
        "3 studies",
        "a  done  1.2 s",
        "b  failed  E_TRUNCATED: ends early",
        "epoch 4  1.5 min, 100%  loss 0.2500  rate 1.0e-03  Dice  liver 0.9000",
        "epoch 5  1.5 min, 50%  loss 0.2500  rate 1.0e-03  1.5 min left",
    ]


def test_epochs_are_told_now_and_then_but_every_validation() -> None:
    said: list[str] = []
    hear = Lines(said.append)
    for number in range(5):
        hear(EpochDone(number, 1.0, 0.1, 0.5, 1e-3))
    hear(EpochDone(5, 1.0, 0.1, 0.5, 1e-3, {"liver": 0.9}))
    assert [line.split()[1] for line in said] == ["0", "5"]


def drawn(*events: Event, **options: object) -> str:
    """What a terminal is sent while these are heard."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, **options)  # type: ignore[arg-type]
    columns = (TextColumn("{task.fields[count]}"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        live = Live(progress)
        for event in events:
            live(event)
            progress.refresh()
    return text.getvalue()


RUN = (
    StudyStarted("liver_1", 1, 3),
    StageStarted("inference"),
    StudyDone("liver_1", "done", 2.0),
    StudyStarted("liver_2", 2, 3),
    StudyDone("liver_2", "failed", 2.0, "E_TRUNCATED: ends early"),
)


def test_a_terminal_shows_study_stage_and_counts() -> None:
    text = drawn(*RUN)
    assert "liver_1  inference" in text
    assert "3 left" in text
    assert "1 done, 1 failed, 1 left" in text
    assert "liver_1  done  2.0 s\n" in text
    assert "liver_2  failed  E_TRUNCATED: ends early\n" in text


def test_a_terminal_shows_the_epoch_and_what_training_waits_for() -> None:
    text = drawn(StageStarted("reading 20 studies"), EpochDone(3, 1.0, 0.25, 0.5, 1e-3))
    assert "reading 20 studies" in text
    assert "epoch 3  loss 0.500" in text


def test_brackets_in_names_are_no_markup() -> None:
    assert "[red]x" in drawn(Note("[red]x"))


def test_no_colour_is_sent_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[3" in drawn(*RUN, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in drawn(*RUN, color_system="standard")


def test_elsewhere_than_on_a_terminal_a_study_is_a_line_of_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with watching() as watch:
        for event in RUN:
            watch(event)
    told = capsys.readouterr()
    assert told.out == ""
    first, second = map(json.loads, told.err.splitlines())
    counts = {"done": 1, "kept": 0, "failed": 0, "left": 2}
    assert first == {"study": "liver_1", "state": "done", "seconds": 2.0, **counts}
    counts = {"done": 1, "kept": 0, "failed": 1, "left": 1}
    failed = {"study": "liver_2", "state": "failed", "seconds": 2.0}
    assert second == {**failed, "message": "E_TRUNCATED: ends early", **counts}


def test_a_line_for_programs_can_be_read_and_steers_no_terminal() -> None:
    said: list[str] = []
    hear = Told(said.append)
    name = "a\x1b[31m\n\x9b\u202e\udcff肝"
    hear(StudyDone(name, "failed", 0.12345, f"E_NOT_FOUND {name}: is not there"))
    (line,) = said
    assert line.isprintable()
    assert "肝" in line
    told = json.loads(line)
    assert (told["study"], told["seconds"]) == (name, 0.123)
    assert "left" not in told
    assert "\x1b" not in told["message"]


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with watching() as watch:
        assert isinstance(watch, Live)
        watch(RUN[2])
    assert "liver_1  done" in capsys.readouterr().err
    monkeypatch.setenv("TERM", "dumb")
    with watching() as watch:
        assert isinstance(watch, Told)
