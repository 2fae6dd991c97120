"""Bad and odd inputs: each ends as its row says, through Python and through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY
from support.corpus import CASES, Case
from support.corpus.trying import (
    End,
    Trial,
    by_command,
    by_python,
    ends_of_command,
    trials,
    wrong,
)

from medseg.codes import CODES


def test_there_are_hundreds_of_rows_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 400
    assert max(Counter(map(str, CASES)).values()) == 1
    assert {case.ends for case in CASES} <= {"done", *CODES}
    assert all((case.ends == "done") or not case.warns for case in CASES)
    assert all(case.truth for case in CASES if case.kind == "scan" and case.ends == "done")


@pytest.mark.parametrize("how", [by_python, by_command])
def test_every_row_ends_as_it_says(
    how: Callable[[Trial], dict[Case, End]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ends: dict[Case, End] = {}
    for trial in trials(CASES, tmp_path / "corpus"):
        ends |= how(trial)
    assert wrong(CASES, ends) == {}
    assert not list(tmp_path.rglob("PWNED"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_every_row_ends_as_it_says_in_a_process_of_its_own(part: int, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found = {}
    for number, case in enumerate(CASES[part::20]):
        (trial,) = trials([case], tmp_path / f"{number}")
        told = ["run", trial.pipeline, "--input", trial.input, "--output", trial.output]
        words = [sys.executable, "-m", "medseg", *map(str, told)]
        done = subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, timeout=600, check=False
        )
        output, errors = done.stdout.decode(), done.stderr.decode()
        found |= wrong([case], ends_of_command(trial, done.returncode, output, errors))
    assert found == {}
    assert not list(tmp_path.rglob("PWNED"))
