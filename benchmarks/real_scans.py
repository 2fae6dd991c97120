"""Train and test on real scans, and write the table of docs/benchmarks.md.

    python benchmarks/real_scans.py [--only NAME ...] [--work FOLDER] [--minutes N]

Every experiment is a ``medseg train`` followed by a ``medseg run`` on what was held out, both
called as a user would. Trainings resume where they stopped; finished ones are not done again.
The scans are found by MEDSEG_REAL_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from common import DATA, REPOSITORY, medseg


@dataclass(frozen=True)
class Experiment:
    """A pipeline, the scans it is shown, and the folds to hold out one after the other."""

    name: str
    pipeline: str
    input: str
    folds: str
    held_out: tuple[str, ...]
    reference: str | None = None
    minutes: float | None = None


SARCOMA = "sarcoma/nifti/{study}/{channel}_image.nii.gz"
SARCOMA_MASKS = "sarcoma/nifti/{study}/PET_mask.nii.gz"
EXPERIMENTS = (
    Experiment("hippocampus", "hippocampus.yaml", "hippocampus", "hippocampus/folds.json", ("1",)),
    Experiment(
        "hippocampus_slices",
        "hippocampus_slices.yaml",
        "hippocampus",
        "hippocampus/folds.json",
        ("1",),
    ),
    Experiment("sarcoma_pet", "sarcoma_pet.yaml", SARCOMA, "test_of_41", ("test",), SARCOMA_MASKS),
    Experiment(
        "sarcoma_pet_ct",
        "sarcoma_pet_ct.yaml",
        SARCOMA,
        "fifths_of_10",
        ("0", "1", "2", "3", "4"),
        SARCOMA_MASKS,
        minutes=3,
    ),
    Experiment(
        "sarcoma_pet_of_10",
        "sarcoma_pet.yaml",
        SARCOMA,
        "fifths_of_10",
        ("0", "1", "2", "3", "4"),
        SARCOMA_MASKS,
        minutes=3,
    ),
)


def folds_file(name: str, work: Path) -> Path:
    """The file of folds, made here where the data bring none."""
    if name.endswith(".json"):
        return DATA / name
    patients = sorted(p.name for p in (DATA / "sarcoma/nifti").iterdir())
    with_ct = [p for p in patients if (DATA / "sarcoma/nifti" / p / "CT_image.nii.gz").exists()]
    folds = {
        "test_of_41": {
            "test": patients[1::4],
            "train": [p for place, p in enumerate(patients) if place % 4 != 1],
        },
        "fifths_of_10": {str(fold): with_ct[fold::5] for fold in range(5)},
    }
    path = work / f"{name}.json"
    path.write_text(json.dumps(folds[name], indent=1))
    return path


def work_through(one: Experiment, work: Path, minutes: float | None) -> Path:
    """Train and test every fold; the folder of the results."""
    place = work / one.name
    where = ["--input", DATA / one.input]
    if one.reference:
        where += ["--reference", DATA / one.reference]
    budget = minutes or one.minutes
    for fold in one.held_out:
        model = place / f"model_{fold}"
        if not (model / "card.json").exists():
            settings = ["--set", f"training.max_minutes={budget}"] if budget else []
            folds = ["--folds", folds_file(one.folds, work), "--fold", fold]
            pipeline = REPOSITORY / "pipelines" / one.pipeline
            medseg("train", pipeline, "--output", model, *where, *folds, *settings)
        held_out = model / "held_out.csv"
        medseg("run", model, "--input", held_out, "--output", place / f"masks_{fold}")
    return place


def table(place: Path, one: Experiment) -> list[str]:
    """A row of Markdown for each label of an experiment."""
    dice: dict[str, list[float]] = {}
    volumes: dict[str, list[tuple[float, float]]] = {}
    minutes, trained = [], []
    for fold in one.held_out:
        card = json.loads((place / f"model_{fold}" / "card.json").read_text())
        minutes.append(card["minutes"])
        trained.append(card["trained_on"])
        masks = place / f"masks_{fold}"
        with (masks / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                if row["metric"] == "dice" and row["value"]:
                    dice.setdefault(row["label"], []).append(float(row["value"]))
        for record in sorted((masks / "studies").glob("*.json")):
            found = json.loads(record.read_text())
            for label, volume in found.get("reference_volumes_ml", {}).items():
                volumes.setdefault(label, []).append((found["volumes_ml"][0][label], volume))
    rows = []
    for label, values in dice.items():
        pairs = volumes.get(label, [])
        off = median(abs(a - b) for a, b in pairs) if pairs else float("nan")
        whole = fmean(b for _, b in pairs) if pairs else float("nan")
        rows.append(
            f"| {one.name} | {label} | {fmean(trained):.0f} | {len(values)} |"
            f" {fmean(minutes):.1f} | {fmean(values):.4f} | {median(values):.4f} |"
            f" {min(values):.3f} | {whole:.2f} | {off:.2f} |"
        )
    return rows


def main() -> None:
    """Do what was asked and print the table."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--only", nargs="+", choices=[one.name for one in EXPERIMENTS])
    asked.add_argument("--work", type=Path, default=Path("out/real_scans"))
    asked.add_argument("--minutes", type=float, help="another budget a training")
    options = asked.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for one in EXPERIMENTS:
        if options.only is None or one.name in options.only:
            rows += table(work_through(one, options.work, options.minutes), one)
    head = (
        "| experiment | label | trained on | tested on | minutes | mean Dice | median | least |"
        " mean reference ml | median volume error ml |"
    )
    print("\n" + "\n".join([head, "|---|---|" + "---:|" * 8, *rows]))


if __name__ == "__main__":
    main()
