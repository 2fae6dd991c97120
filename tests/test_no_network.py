"""A run, an evaluation and their reports with every socket refused but those of one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY

# Python's own hook, which cannot be taken out; in every process that the commands start as well.
REFUSING = """\
import socket, sys, traceback

def refuse(event, args):
    away = event == "socket.__new__" and args[1] not in (socket.AF_UNIX, -1)
    if away or event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        names = {frame.f_code.co_name for frame, _ in traceback.walk_stack(None)}
        # urllib3, as it is imported, looks whether there is an IPv6 here; it sends nothing.
        if "_has_ipv6" not in names:
            with open(ASKED, "a") as file:
                file.write(f"{event} {args[1:]} by {sorted(names)}\\n")
        raise PermissionError(f"the network was asked for: {event} {args[1:]}")

sys.addaudithook(refuse)
"""
WORK = """\
import sys
from collections.abc import Sequence
from pathlib import Path
from medseg.cli import main

if __name__ == "__main__":
    out, *more = sys.argv[1:]
    phantoms = "sample_data/ct"
    case = sorted(Path(phantoms, "images").iterdir())[0].name
    run = ["run", "pipelines/quickstart.yaml", "--input", f"{phantoms}/images/{case}", "--report"]
    run += ["--reference", f"{phantoms}/labels/{case}", "--output", f"{out}/run", *more]
    evaluate = ["evaluate", f"{out}/run/masks", "--reference", f"{phantoms}/labels"]
    for command in (run, [*evaluate, "--output", f"{out}/e"], ["report", f"{out}/run"]):
        assert main(command, standalone_mode=False) in (None, 0), command
"""


def environment(folder: Path, hook: str = "") -> dict[str, str]:
    path = os.pathsep.join([str(folder), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    (folder / "sitecustomize.py").write_text(hook.replace("ASKED", repr(str(folder / "asked"))))
    return {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"}


def worked(folder: Path, env: dict[str, str], before: Sequence[str], more: Sequence[str]) -> None:
    # In a file, as workers begin by importing what started them.
    script = folder / "work.py"
    script.write_text(WORK)
    told = [*before, sys.executable, str(script), str(folder / "out"), *more]
    said = subprocess.run(
        told, env=env, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert list((folder / "out/run/masks").glob("*.nii.gz"))
    assert (folder / "out/e/metrics.csv").is_file()
    assert (folder / "out/run/report/index.html").is_file()
    # Nor has anybody asked and been content with a refusal.
    assert not (folder / "asked").exists()


def test_the_refusal_is_one(tmp_path: Path) -> None:
    ask = "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)\n"
    env = environment(tmp_path, REFUSING)
    told = [sys.executable, "-c", ask]
    said = subprocess.run(told, env=env, capture_output=True, text=True, check=False)
    assert "the network was asked for: socket.getaddrinfo" in said.stderr
    assert (tmp_path / "asked").read_text().startswith("socket.getaddrinfo")


def test_segmenting_evaluating_and_reporting_ask_for_no_network(tmp_path: Path) -> None:
    worked(tmp_path, environment(tmp_path, REFUSING), [], [])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_workers_and_other_engines_ask_for_no_network_either(tmp_path: Path, engine: str) -> None:
    pytest.importorskip(engine)
    site = tmp_path / "site.yaml"
    site.write_text("execution: local\ndevice: cpu\n")
    more = ["--site", str(site), "--set", f"inference.0.engine={engine}"]
    worked(tmp_path, environment(tmp_path, REFUSING), [], more)


@pytest.mark.slow
def test_a_machine_without_a_network_is_enough(tmp_path: Path) -> None:
    """In a network of its own, which has no way out: compiled code is held by it as well."""
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody make a network of his own")
    worked(tmp_path, environment(tmp_path), alone, [])
