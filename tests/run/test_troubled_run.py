"""``medseg run`` by two workers, of which some are killed, hang or eat memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from support.runs import lines
from support.studies import BALL, ball, save
from support.trouble import EAT, HANG, KILL, WAIT, installed

TROUBLE = {"study_01": KILL, "study_02": WAIT, "study_04": HANG, "study_06": EAT}
SITE = """\
execution: local
device: cpu
workers: 2
limits: {seconds: 40, memory_gib: 0.6}
"""


def troubled(folder: Path, count: int) -> list[str]:
    """Studies of which four make trouble, their pipeline and site; the words of a run."""
    for number in range(count):
        image, mask = ball(number)
        name = f"study_{number:02d}"
        image[0, 0, 0] = TROUBLE.get(name, 0)
        save(folder / "images" / f"{name}.nii.gz", image)
        save(folder / "labels" / f"{name}.nii.gz", mask)
    step = f"preprocess:\n  - trouble: {{mark: {folder / 'mark'}}}\n"
    (folder / "ball.yaml").write_text(BALL.replace("preprocess:\n", step))
    (folder / "site.yaml").write_text(SITE)
    told = ["run", str(folder / "ball.yaml"), "--site", str(folder / "site.yaml")]
    return [sys.executable, "-m", "medseg", *told, "--output", str(folder / "out")]


def killed_when_it_waits(mark: Path, run: subprocess.Popen[str]) -> None:
    """Kill the worker that says in ``mark`` which process it is."""
    deadline = time.monotonic() + 300
    while not (mark.is_file() and mark.read_text().endswith("\n")):
        assert run.poll() is None
        assert time.monotonic() < deadline, "the study that waits never began"
        time.sleep(0.02)
    os.kill(int(mark.read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_four_ways_to_lose_a_worker_cost_no_other_study(tmp_path: Path) -> None:
    words = troubled(tmp_path, 12)
    path = [str(REPOSITORY), str(REPOSITORY / "tests"), str(installed(tmp_path / "packages"))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=env, stdout=pipe, stderr=pipe, text=True) as run:
        killed_when_it_waits(tmp_path / "mark", run)
        output, told = run.communicate(timeout=600)
    assert run.returncode == 1, told
    assert "Traceback" not in told
    ended = {one["study"]: one for one in map(json.loads, filter(is_json, told.splitlines()))}
    assert len(ended) == 12
    failed = {name: one["message"] for name, one in ended.items() if one["state"] == "failed"}
    assert {name: said.split()[0].strip(":") for name, said in failed.items()} == {
        "study_01": "E_WORKER_DIED",
        "study_04": "E_TIMEOUT",
        "study_06": "E_MEMORY",
    }
    assert "killed from outside" in failed["study_01"]
    assert "limits.seconds, 40" in failed["study_04"]
    assert "it may take 0.6" in failed["study_06"]
    records = {one.stem: json.loads(one.read_text()) for one in tmp_path.glob("out/studies/*")}
    fallen = [name for name, one in records.items() if "W_FALLBACK" in str(one.get("warnings"))]
    assert fallen == ["study_02"]
    assert "killed from outside" in str(records["study_02"]["warnings"])
    assert {path.name[:8] for path in tmp_path.glob("out/masks/study_*")} == {
        name for name in records if name not in failed
    }
    assert len(lines(tmp_path / "out/runs.jsonl")) == 12
    assert "9 done, 3 failed" in output


def is_json(line: str) -> bool:
    """Whether a line is an object."""
    return line.startswith("{")
