"""A Dask scheduler and its workers as processes of their own, as an administrator starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import REPOSITORY

QUIET = ("--dashboard-address", "127.0.0.1:0")
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Running:
    """Where the scheduler is, and the processes."""

    address: str
    scheduler: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]


@contextmanager
def running(folder: Path, protocol: str = "tcp", options: Sequence[str] = ()) -> Iterator[Running]:
    """A scheduler and one worker with three threads, until the end of the block."""
    file = folder / "scheduler.json"
    at = ["--host", "127.0.0.1", "--protocol", protocol, *options, *QUIET]
    head = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    hand = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "3"]
    with (folder / "dask.log").open("wb") as log:
        processes = []
        try:
            for command in (head, hand):
                told = [*command, "--scheduler-file", str(file), *at]
                # Elsewhere than the run, as a worker of another machine is.
                processes.append(subprocess.Popen(told, env=ENV, cwd="/", stdout=log, stderr=log))
            # The worker waits for this file as well.
            while not file.is_file() or not file.read_text():
                assert processes[0].poll() is None, (folder / "dask.log").read_text()
                time.sleep(0.05)
            yield Running(json.loads(file.read_text())["address"], processes[0], processes[1])
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait(60)
