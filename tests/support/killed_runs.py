"""Run, be killed at a random moment, run again; on its own, as it forks and kills.

    python killed_runs.py FOLDER KILLS SEED EXECUTION

``FOLDER`` has ball.yaml; a line of JSON tells at which share of an undisturbed run each was
killed, how many masks it had made by then, and which runs did not end with the same bytes.
"""

from __future__ import annotations

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


def begun(path: Path, output: Path, site: Site) -> int:
    """A run in a process of its own."""
    child = os.fork()
    if child:
        return child
    try:
        predict(load_pipeline(path).writing_to(output), site)
    finally:
        os._exit(0)


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
    start = time.monotonic()
    os.waitpid(begun(path, folder / "calm", site), 0)
    seconds, calm = time.monotonic() - start, everything(folder / "calm")
    shares, masks, wrong = [], [], []
    for number in range(kills):
        output = folder / f"killed_{number}"
        share = chance.random()
        child = begun(path, output, site)
        time.sleep(share * seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
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
