"""Shards share a run's studies: each is done once, and together they are the whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import everything, states
from support.studies import ball_studies

from medseg.cli import main
from medseg.errors import InputError, OutputError
from medseg.image import Study
from medseg.pipeline import load_pipeline
from medseg.run.events import Event, StudyDone
from medseg.run.folder import held
from medseg.run.predict import RunSummary, plan, predict
from medseg.run.shards import Shard, claiming, write_plan
from medseg.run.whole import merge, progress

names = st.lists(st.text("abcdefgh0123456789._-", min_size=1, max_size=12), unique=True)


def run(path: Path, output: Path, shard: str | None = None) -> RunSummary:
    part = None if shard is None else Shard.named(shard)
    return predict(load_pipeline(path).writing_to(output), shard=part)


@settings(max_examples=50)
@given(names, st.integers(1, 9))
def test_every_study_belongs_to_exactly_one_shard(studies: list[str], count: int) -> None:
    shards = [Shard.named(f"{index}/{count}") for index in range(1, count + 1)]
    assert all(sum(shard.has(name) for shard in shards) == 1 for name in studies)


def test_shards_are_of_about_one_size() -> None:
    sizes = [sum(Shard(i, 4).has(f"study_{n:04d}") for n in range(2000)) for i in (1, 2, 3, 4)]
    assert min(sizes) > 430


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", ""])
def test_what_is_no_shard_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="one of several"):
        Shard.named(text)


def test_shards_together_are_the_run(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 7)
    (tmp_path / "images/study_05.nii.gz").write_bytes(b"")
    run(path, tmp_path / "whole")
    output = tmp_path / "parts"
    assert sum(len(plan(load_pipeline(path), shard=Shard(i, 3)).todo) for i in (1, 2, 3)) == 7
    sizes = []
    for index in (1, 2, 3):
        sizes.append(len(run(path, output, f"{index}/3").outcomes))
        found = progress(output)
        assert len(found.done) + len(found.failed) == sum(sizes)
        assert len(found.left) == 7 - sum(sizes)
    assert not (output / "summary.json").exists()
    made = merge(output)
    assert (made.left, made.summary["done"]) == ((), 6)
    assert everything(output) == everything(tmp_path / "whole")
    assert progress(output).by_hour


def test_what_is_left_of_shards_is_told_and_not_counted(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 6)
    output = tmp_path / "out"
    mine = run(path, output, "1/2")
    made = merge(output)
    assert len(made.left) == 6 - len(mine.outcomes) > 0
    result = CliRunner().invoke(main, ["merge", str(output)])
    assert result.exit_code == 1
    assert f"{len(made.left)} left" in result.stdout
    told = CliRunner().invoke(main, ["status", str(output)])
    assert told.exit_code == 0
    assert f"{len(mine.outcomes)} done, 0 failed, {len(made.left)} left" in told.stdout


def test_what_is_left_of_a_run_without_shards_is_told_and_not_counted(tmp_path: Path) -> None:
    path, output, ended = ball_studies(tmp_path, 6), tmp_path / "out", 0

    def stop(event: Event) -> None:
        nonlocal ended
        ended += isinstance(event, StudyDone)
        if ended == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(load_pipeline(path).writing_to(output), watch=stop)
    found = progress(output)
    assert len(found.left) == 6 - len(found.done) > 0
    result = CliRunner().invoke(main, ["merge", str(output)])
    assert result.exit_code == 1
    assert f"{len(found.left)} left" in result.stdout
    run(path, output)
    assert progress(output).left == merge(output).left == ()


def test_a_failure_of_another_pipeline_is_left(tmp_path: Path) -> None:
    path, output = ball_studies(tmp_path, 2), tmp_path / "out"
    (tmp_path / "images/study_01.nii.gz").write_bytes(b"")
    run(path, output)
    assert list(progress(output).failed) == ["study_01"]
    write_plan(output, [Study("study_00", ()), Study("study_01", ())], "of another pipeline")
    found = progress(output)
    assert (found.left, found.failed) == (("study_00", "study_01"), {})


def test_a_mask_that_is_not_whole_is_left_when_shards_are_merged(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    run(path, tmp_path / "out", "any")
    (tmp_path / "out/masks/study_01.nii.gz").write_bytes(b"rot")
    assert merge(tmp_path / "out").left == ("study_01",)


def test_a_whole_run_and_merge_keep_out_while_shards_are_at_work(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 1)
    run(path, tmp_path / "out")
    with held(tmp_path / "out", shared=True):
        with held(tmp_path / "out", shared=True):
            pass
        with pytest.raises(OutputError, match=f"E_LOCKED.*{os.getpid()}"):
            merge(tmp_path / "out")
    merge(tmp_path / "out")


def test_nothing_was_run_where_there_is_nothing(tmp_path: Path) -> None:
    for verb in (progress, merge):
        with pytest.raises(InputError, match="nothing has been run"):
            verb(tmp_path)


def test_claims_are_respected_while_their_owner_lives_and_are_free_after(tmp_path: Path) -> None:
    studies = [Study(name, ()) for name in "abcd"]
    with claiming(tmp_path) as one, claiming(tmp_path) as other:
        first = one.taken(studies)
        assert [next(first).name, next(first).name] == ["a", "b"]
        assert [study.name for study in other.taken(studies)] == ["c", "d"]
        assert list(first) == []
    with claiming(tmp_path) as third:
        assert [study.name for study in third.taken(studies)] == list("abcd")


CLAIMER = """
import os, signal, sys
from pathlib import Path
from medseg.image import Study
from medseg.run.shards import claiming

with claiming(Path(sys.argv[1])) as claims:
    taken = claims.taken([Study(name, ()) for name in "abc"])
    next(taken)
    next(taken)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_claims_of_a_process_that_was_killed_are_anybodys(tmp_path: Path) -> None:
    path = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    told = [sys.executable, "-c", CLAIMER, str(tmp_path)]
    assert subprocess.run(told, env=path, check=False).returncode == -9
    studies = [Study(name, ()) for name in "abc"]
    with claiming(tmp_path) as claims, claiming(tmp_path) as rival:
        assert [study.name for study in claims.taken(studies)] == ["c", "a", "b"]
        assert list(rival.taken(studies)) == []


def test_two_that_take_any_study_do_each_once(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 8)
    pipeline = load_pipeline(path).writing_to(tmp_path / "out")
    other: list[str] = []

    def beside(event: object) -> None:
        if isinstance(event, StudyDone) and not other:
            other.extend(o.name for o in predict(pipeline, shard=Shard(0)).outcomes)

    mine = [o.name for o in predict(pipeline, shard=Shard(0), watch=beside).outcomes]
    assert sorted(mine + other) == [f"study_0{number}" for number in range(8)]
    again = run(path, tmp_path / "out", "any")
    assert states(again) == ["kept"] * 8
    journals = (tmp_path / "out/shards").glob("any-*.jsonl")
    told = [json.loads(line)["study"] for p in journals for line in p.read_text().splitlines()]
    assert set(told) == set(mine + other)


def test_no_shard_of_the_command_line_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["run", "p.yaml", "--shard", "9/8"])
    assert result.exit_code == 2
    assert "one of several" in result.stderr
