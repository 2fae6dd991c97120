"""A folder of nnU-Net v2 under medseg and under nnU-Net itself: masks, seconds and memory.

    python benchmarks/nnunet_parity.py MODEL IMAGES [--nnunet PYTHON] [--work FOLDER]
        [--previous MASKS] [--threads N] [--set KEY=VALUE ...]

MODEL is a folder TRAINER__PLANS__CONFIGURATION, IMAGES a folder of files STUDY_0000.nii.gz, and
--nnunet a Python that has nnunetv2. For the second stage of a cascade --previous is the folder of
the first stage's masks, which nnU-Net wants and medseg makes itself. Both work on the CPU, each in
processes of its own whose memory is summed. What is printed is a row of a table: the mean and the
lowest Dice between the masks, over labels and studies, the voxels that differ as a share of those
that nnU-Net calls foreground, and of both the seconds that processors worked (on a machine that
works for others too, those of the clock say less) and GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np

CALL = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as p;p()"
)


def main() -> None:
    """Let both work, compare, tell."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("model", type=Path)
    asked.add_argument("images", type=Path)
    asked.add_argument("--nnunet", default=sys.executable)
    asked.add_argument("--work", type=Path, default=Path("out/nnunet_parity"))
    asked.add_argument("--previous", type=Path)
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--set", action="append", default=[], dest="settings")
    options = asked.parse_args()
    model = options.model.resolve()
    work = options.work.absolute() / f"{model.parent.name}__{model.name}"
    theirs, ours = work / "nnunet", work / "medseg"
    folds = sorted(path.parent.name[5:] for path in model.glob("fold_*/checkpoint_final.pth"))
    by_nnunet = [options.nnunet, "-c", CALL, "-i", str(options.images), "-o", str(theirs)]
    by_nnunet += ["-m", str(model), "-f", *folds, "-device", "cpu", "-npp", "1", "-nps", "1"]
    if options.previous:
        by_nnunet += ["-prev_stage_predictions", str(options.previous)]
    by_medseg = [sys.executable, "-m", "medseg", "run", str(model), "--overwrite"]
    by_medseg += ["--input", str(options.images), "--output", str(ours), "--device", "cpu"]
    by_medseg += [word for one in options.settings for word in ("--set", one)]
    told = {
        "nnunet": measured([*by_nnunet, "--disable_progress_bar"], options.threads, work),
        "medseg": measured(by_medseg, options.threads, work),
    }
    found = compared(theirs, ours / "masks", model)
    (work / "parity.json").write_text(json.dumps({**told, **found}, indent=1))
    print(row(f"{model.parent.name} {model.name}", len(folds), told, found))


def measured(command: list[str], threads: int, work: Path) -> dict[str, float]:
    """Seconds of a command, and the most memory that it and its children had at once."""
    work.mkdir(parents=True, exist_ok=True)
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    places = {f"nnUNet_{name}": str(work) for name in ("raw", "preprocessed", "results")}
    space = {**os.environ, **numbers, **places, "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
    begun, spent, most = time.perf_counter(), processor_seconds(), 0.0
    with (work / "log.txt").open("ab") as log:
        running = subprocess.Popen(command, env=space, stdout=log, stderr=log)
        while running.poll() is None:
            most = max(most, memory_of(running.pid))
            time.sleep(0.25)
    if running.returncode:
        raise SystemExit(f"{command[:3]} ended with {running.returncode}; see {work / 'log.txt'}")
    seconds, spent = time.perf_counter() - begun, processor_seconds() - spent
    return {"seconds": seconds, "processor_seconds": spent, "gib": most}


def processor_seconds() -> float:
    """Seconds that processors worked for the processes that this one has started, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_of(process: int) -> float:
    """GiB of a process and all below it; pages that they share are shared out among them."""
    total, waiting = 0.0, [process]
    while waiting:
        one = waiting.pop()
        try:
            tasks = Path(f"/proc/{one}/task").iterdir()
            waiting += [int(c) for t in tasks for c in (t / "children").read_text().split()]
            said = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("Pss:"))
    return total / 2**20


def compared(theirs: Path, ours: Path, model: Path) -> dict[str, float]:
    """Dice of every label and study between the masks, and the voxels that differ."""
    labels = json.loads((model / "dataset.json").read_text())["labels"]
    values = [v for name, v in labels.items() if name not in ("background", "ignore")]
    dice: list[float] = []
    differ = foreground = studies = 0
    for path in sorted(theirs.glob("*.nii.gz")):
        a, b = (np.asarray(nibabel.load(one).dataobj) for one in (path, ours / path.name))
        studies += 1
        differ += int((a != b).sum())
        foreground += int((a > 0).sum())
        for value in values:
            one, other = np.isin(a, value), np.isin(b, value)
            if one.any() or other.any():
                dice.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    return {
        "studies": studies,
        "dice": float(np.mean(dice)),
        "lowest": float(np.min(dice)),
        "differ": differ,
        "foreground": foreground,
    }


def row(name: str, folds: int, told: dict[str, dict[str, float]], found: dict[str, float]) -> str:
    """One line of a Markdown table."""
    share = 100 * found["differ"] / max(1, found["foreground"])
    cells = [
        name,
        f"{folds}",
        f"{found['studies']}",
        f"{found['dice']:.5f}",
        f"{found['lowest']:.5f}",
        f"{found['differ']} of {found['foreground']} ({share:.3f} %)",
        *(f"{told[who]['processor_seconds']:.0f} s, {told[who]['gib']:.2f} GiB" for who in told),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
