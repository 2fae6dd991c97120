"""Killed at any moment, or with any call to the disk failing: nothing half-done, then the same."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from support.failing_disk import failing
from support.runs import everything, lines
from support.studies import ball_studies

from medseg.errors import MedsegError
from medseg.io import append_durably
from medseg.pipeline import load_pipeline
from medseg.run.journal import journal_lines
from medseg.run.predict import predict


def killed(folder: Path, kills: int, seed: int, execution: str = "serial") -> dict[str, Any]:
    ball_studies(folder, 5)
    script = str(REPOSITORY / "tests/support/killed_runs.py")
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    told = [sys.executable, script, str(folder), str(kills), str(seed), execution]
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    said = subprocess.run(
        told, env=env, capture_output=True, text=True, timeout=60 * (kills + 10), check=False
    )
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    assert found["files"] == 5 + 5 + 7
    return found


def test_a_run_killed_at_some_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    assert killed(tmp_path, 6, 1)["wrong"] == []


@pytest.mark.slow
def test_a_run_killed_at_two_hundred_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    found = killed(tmp_path, 200, 2)
    assert found["wrong"] == []
    assert set(found["masks"]) >= {0, 1, 2, 3, 4}


@pytest.mark.slow
def test_a_run_of_workers_killed_at_some_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    assert killed(tmp_path, 5, 3, "local")["wrong"] == []


def each_call_failing(folder: Path, number: int, every: int) -> Counter[str]:
    """Runs with each call failing once; how many calls there were of which kind."""
    path = ball_studies(folder, 2)
    pipeline = load_pipeline(path)
    predict(pipeline.writing_to(folder / "warm"))
    with failing(folder, 0, number) as disk:
        predict(pipeline.writing_to(folder / "calm"))
    calm = everything(folder / "calm")
    for fatal in range(1, disk.count + 1, every):
        output = folder / f"failed_{fatal}"
        # Whatever else flies is a fault of the program.
        with failing(folder, fatal, number), suppress(MedsegError):
            predict(pipeline.writing_to(output))
        sound(output, calm)
        predict(pipeline.writing_to(output))
        assert everything(output) == calm, fatal
        assert not list(output.rglob("*.tmp"))
        shutil.rmtree(output)
    return disk.kinds


def sound(output: Path, calm: dict[str, bytes]) -> None:
    """Every file that has its name is whole; every line of the journal speaks of such a mask."""
    for name, data in everything(output).items():
        if name.startswith("masks/"):
            assert data == calm[name]
        elif name.endswith(".json"):
            json.loads(data)
    for line in journal_lines(output / "runs.jsonl"):
        if line["state"] == "done":
            assert (output / "masks" / f"{line['study']}.nii.gz").is_file()


def test_any_call_to_the_disk_may_fail_and_nothing_half_written_is_left(tmp_path: Path) -> None:
    assert each_call_failing(tmp_path, errno.ENOSPC, 23).total() > 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EACCES])
def test_every_call_to_the_disk_may_fail(tmp_path: Path, number: int) -> None:
    kinds = each_call_failing(tmp_path, number, 1)
    assert kinds.total() > 200
    assert {"open", "read", "write", "fsync", "close", "replace", "mkdir"} <= kinds.keys()


def test_a_line_that_was_cut_off_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    append_durably(path, '{"study": "a"}')
    with path.open("a") as file:
        file.write('{"study": "b"')
    append_durably(path, '{"study": "c"}')
    assert [line["study"] for line in journal_lines(path)] == ["a", "c"]
    assert path.read_bytes().endswith(b"\n")


def test_the_journal_has_the_digests_of_all_that_went_in_and_out(tmp_path: Path) -> None:
    path, output = ball_studies(tmp_path, 2), tmp_path / "out"
    (tmp_path / "images/study_01.nii.gz").write_bytes(b"")
    predict(load_pipeline(path).writing_to(output))
    good, bad = lines(output / "runs.jsonl")
    record = json.loads((output / "studies/study_00.json").read_text())
    assert good["mask"] == record["mask"]["sha256"]
    assert good["inputs"] == record["inputs"]
    assert good["pipeline"] == bad["pipeline"] == record["pipeline"]["digest"]
    assert (good["state"], bad["state"], bad["code"]) == ("done", "failed", "E_EMPTY_FILE")
    assert good["models"] == []
    predict(load_pipeline(path).writing_to(output))
    again = lines(output / "runs.jsonl")
    assert [line["study"] for line in again] == ["study_00", "study_01", "study_01"]
    # A run that was killed between the mask and its line says it when it goes on.
    (output / "runs.jsonl").unlink()
    predict(load_pipeline(path).writing_to(output))
    assert [line["study"] for line in lines(output / "runs.jsonl")] == ["study_00", "study_01"]
