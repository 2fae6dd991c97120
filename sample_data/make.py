"""Make phantoms: the committed samples, or a set to train on.

    python sample_data/make.py --samples
    python sample_data/make.py --modality ct --count 40 --seed 1000 --output data/phantoms

A set has ``images/`` and ``labels/`` with a file a study. Labels are those of the modality; with
``--labels joint`` those of the quickstart, where a brain's numbers follow an abdomen's; with
``--labels all`` an abdomen has 14.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from phantoms import ct  # noqa: E402 - the folder is on the path from here on
from phantoms.scanner import Phantom, ct_phantom, mr_phantom  # noqa: E402

JOINT_SHIFT = len(ct.LABELS)
"""What is added to a brain's labels where CT and MR share a table."""
SAMPLES = {"ct": (1, 2, 3), "mr": (1, 2)}


def phantom(modality: str, seed: int, size: str = "small", labels: str = "own") -> Phantom:
    """The phantom of a seed; ``labels`` are own, joint or all (14 for CT)."""
    if modality == "ct":
        return ct_phantom(seed, size, every_label=labels == "all")
    made = mr_phantom(seed, size)
    if labels != "joint":
        return made
    shifted = np.where(made.labels > 0, made.labels + JOINT_SHIFT, 0).astype(np.uint8)
    return Phantom(made.image, shifted, made.affine)


def write(made: Phantom, folder: Path, name: str) -> None:
    """Write image and labels with the header a scanner's converter would give them."""
    for kind, data in (("images", made.image), ("labels", made.labels)):
        file = nib.Nifti1Image(data, made.affine)
        file.header.set_xyzt_units("mm")
        file.set_sform(made.affine, 1)
        file.set_qform(made.affine, 1)
        path = folder / kind / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(file, path)


def make(modality: str, size: str, labels: str, output: Path, seed: int) -> str:
    """Make and write one phantom; its name."""
    name = f"{modality}_{seed:04d}"
    write(phantom(modality, seed, size, labels), output, name)
    return name


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for; None takes the words of the command line."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--samples", action="store_true", help="the committed samples")
    asked.add_argument("--modality", choices=["ct", "mr"], default="ct")
    asked.add_argument("--count", type=int, default=1)
    asked.add_argument("--seed", type=int, default=1000, help="of the first")
    asked.add_argument("--size", choices=["small", "full"], default="small")
    asked.add_argument("--labels", choices=["own", "joint", "all"], default="own")
    asked.add_argument("--output", type=Path, default=Path("phantoms"))
    return asked.parse_args(words)


def main() -> None:
    """Make what was asked for."""
    options = arguments()
    if options.samples:
        for modality, seeds in SAMPLES.items():
            for seed in seeds:
                print(make(modality, "small", "joint", HERE / modality, seed), flush=True)
        return
    one = partial(make, options.modality, options.size, options.labels, options.output)
    with ProcessPoolExecutor(2 if options.size == "small" else 1) as workers:
        for name in workers.map(one, range(options.seed, options.seed + options.count)):
            print(name, flush=True)


if __name__ == "__main__":
    main()
