"""Run, be killed at a random moment, run again; on its own, as it forks and kills.

    python killed_runs.py FOLDER KILLS SEED EXECUTION

``FOLDER`` has ball.yaml; a line of JSON tells at which share of an undisturbed run each was
killed, how many masks it had made by then, and which runs did not end with the same bytes.
Shares are of the processor's time, which a busy machine does not stretch, or of all time where
workers have it. A run that hangs says
where: all its threads are shown, and it ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import nibabel as nib
from support.runs import everything

from medseg.pipeline import Site, load_pipeline
from medseg.run.predict import predict

_ALL_THREADS = 2
_LONGEST_SECONDS = 1800
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def begun(path: Path, output: Path, site: Site) -> int:
    """A run in a process of its own."""
    child = os.fork()
    if child:
        return child
    faulthandler.dump_traceback_later(_LONGEST_SECONDS, exit=True)
    try:
        predict(load_pipeline(path).writing_to(output), site)
    finally:
        os._exit(0)


def spent(child: int) -> float:
    """Seconds of the processor that a process has had; a great many of one that has ended."""
    try:
        return time.clock_gettime((~child << 3) | _ALL_THREADS)
    except OSError:
        return float("inf")


def killed_at(child: int, seconds: float, alone: bool, chance: random.Random) -> None:
    """Kill it once it has worked that long, or waits for the disk soon after."""
    since = time.monotonic()
    while (spent(child) if alone else time.monotonic() - since) < seconds and not os.waitid(
        os.P_PID, child, _LOOK
    ):
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def whole(output: Path) -> int:
    """How many masks there are; each of them can be read to its end."""
    found = list(output.glob("masks/*.nii.gz"))
    return sum(bool(nib.load(mask).get_fdata().any()) for mask in found)


def main(folder: Path, kills: int, seed: int, execution: str) -> None:
    """Disturb runs, and compare."""
    path, chance = folder / "ball.yaml", random.Random(seed)
    local = Site(execution="local", device="cpu", workers=2)
    site = local if execution == "local" else Site(device="cpu")
    # What is imported and compiled once need not be so in every child.
    predict(load_pipeline(path).writing_to(folder / "warm"), Site(device="cpu"))
    before, start = os.times(), time.monotonic()
    os.waitpid(begun(path, folder / "calm", site), 0)
    after, calm = os.times(), everything(folder / "calm")
    seconds = sum(after[2:4]) - sum(before[2:4])
    if execution == "local":
        seconds = time.monotonic() - start
    shares, masks, wrong = [], [], []
    for number in range(kills):
        output = folder / f"killed_{number}"
        share = chance.random()
        child = begun(path, output, site)
        killed_at(child, share * seconds, execution == "serial", chance)
        shares.append(round(share, 2))
        masks.append(whole(output))
        os.waitpid(begun(path, output, site), 0)
        if everything(output) != calm:
            wrong.append(number)
        else:
            shutil.rmtree(output)
    told = {"seconds": seconds, "shares": shares, "masks": masks, "wrong": wrong}
    told["files"] = len(calm)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
