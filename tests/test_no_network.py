"""A run, an evaluation and their reports with every socket refused but those of one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

# Python's own hook, which cannot be taken out; in every process that the commands start as well.
REFUSING = """\
import socket, sys

def refuse(event, args):
    away = event == "socket.__new__" and args[1] not in (socket.AF_UNIX, -1)
    if away or event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        raise PermissionError(f"the network was asked for: {event} {args[1:]}")

sys.addaudithook(refuse)
"""
WORK = """\
import socket, sys
from pathlib import Path
from medseg.cli import main

out, site = sys.argv[1:]
try:
    socket.socket(socket.AF_INET)
except OSError as error:
    assert "the network was asked for" in str(error) or not HOOKED
else:
    assert not HOOKED
phantoms = "sample_data/ct"
case = sorted(Path(phantoms, "images").iterdir())[0].name
run = ["run", "pipelines/quickstart.yaml", "--input", f"{phantoms}/images/{case}"]
run += ["--reference", f"{phantoms}/labels/{case}", "--output", f"{out}/run", "--report"]
commands = [
    [*run, *(["--site", site] if site else [])],
    ["evaluate", f"{out}/run/masks", "--reference", f"{phantoms}/labels", "--output", f"{out}/e"],
    ["report", f"{out}/run"],
]
for command in commands:
    assert main(command, standalone_mode=False) in (None, 0), command
"""


def worked(folder: Path, before: list[str], *, hooked: bool, site: str = "") -> None:
    hook = folder / "hook"
    hook.mkdir()
    if hooked:
        (hook / "sitecustomize.py").write_text(REFUSING)
    path = os.pathsep.join([str(hook), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    # In a file, as workers begin by importing what started them.
    script = folder / "work.py"
    text = WORK.replace("HOOKED", str(hooked)).replace("\n", "\n    ")
    script.write_text(f'if __name__ == "__main__":\n    {text}\n')
    told = [*before, sys.executable, str(script), str(folder / "out"), site]
    said = subprocess.run(
        told, env=env, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert list((folder / "out/run/masks").glob("*.nii.gz"))
    assert (folder / "out/e/metrics.csv").is_file()
    assert (folder / "out/run/report/index.html").is_file()


def test_segmenting_evaluating_and_reporting_ask_for_no_network(tmp_path: Path) -> None:
    worked(tmp_path, [], hooked=True)


@pytest.mark.slow
def test_workers_ask_for_no_network_either(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("execution: local\ndevice: cpu\n")
    worked(tmp_path, [], hooked=True, site=str(site))


@pytest.mark.slow
def test_a_machine_without_a_network_is_enough(tmp_path: Path) -> None:
    """In a network of its own, which has no way out: compiled code is held by it as well."""
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody make a network of his own")
    worked(tmp_path, alone, hooked=False)
