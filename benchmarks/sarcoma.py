"""Soft-tissue sarcoma on PET: trained on 31 patients, tested on 10, and its failures looked at.

    python benchmarks/sarcoma.py [--minutes N] [--device NAME] [--work FOLDER] [--failures 4]
        [--write]

Patients 2, 6, 10, ... of the 41 are held out (one scan a patient), pipelines/sarcoma_pet.yaml
trains on the others. Into the work folder go results.md (mean Dice with a bootstrap interval,
volumes in ml against the contours, a sentence for each failure), failures.png (the worst cases,
the slice with most of the contour) and volumes.png. Killed and begun again, it goes on. The scans
are found by MEDSEG_REAL_DATA (default ../shared/data). ``--write`` puts the results and the
picture of the volumes into docs/; the picture of the failures shows scans and stays where it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from common import DATA, REPOSITORY, markdown, medseg, settings, write_between
from real_scans import SARCOMA, SARCOMA_MASKS, folds_file

from medseg.image import LabelMap, Volume
from medseg.io import read_labels, read_scan
from medseg.metrics.instances import instances, split
from medseg.metrics.statistics import bland_altman, describe, icc
from medseg.pipeline import load_pipeline
from medseg.run.overlays import overlays_png, panel
from medseg.run.predict import studies_of
from medseg.run.verbs import asked as with_input

PIPELINE = REPOSITORY / "pipelines/sarcoma_pet.yaml"
PAGE = REPOSITORY / "docs/benchmarks.md"


@dataclass(frozen=True, eq=False)
class Case:
    """A held-out patient: scan, mask and contour on one grid, and their Dice."""

    name: str
    scan: Volume
    mask: LabelMap
    reference: LabelMap

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|); 1 where both are empty."""
        mine, theirs = self._sides
        total = int(mine.sum() + theirs.sum())
        return 2 * int((mine & theirs).sum()) / total if total else 1.0

    @property
    def volumes_ml(self) -> tuple[float, float]:
        """Of the mask and of the contour."""
        mine, theirs = self._sides
        return mine.sum() * self.mask.grid.voxel_ml, theirs.sum() * self.mask.grid.voxel_ml

    @property
    def _sides(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mask.where("tumour"), self.reference.where("tumour")

    @property
    def sentence(self) -> str:
        """What went wrong: what was missed, what was found beside it, and where."""
        mine, theirs = self._sides
        ml = self.mask.grid.voxel_ml
        both, missed, beside = (int(one.sum()) * ml for one in (mine & theirs, theirs & ~mine,
                                                                mine & ~theirs))  # fmt: skip
        whole = theirs.sum() * ml
        told = f"Dice {self.dice:.2f}: {both:.0f} of {whole:.0f} ml found, {missed:.0f} ml missed"
        told += f" and {beside:.0f} ml marked beside the contour"
        pieces, wanted = split(mine, 26), split(theirs, 26)
        apart = sorted(set(np.unique(pieces)) - {0} - set(np.unique(pieces[theirs])))
        lost = sorted(set(np.unique(wanted)) - {0} - set(np.unique(wanted[mine])))
        if apart:
            far = [one for one in instances(self.mask, pieces) if one.number in apart]
            reach = self._to_contour_mm(far[0].centroid_mm)
            told += (
                f"; {len(apart)} piece{'s' * (len(apart) > 1)} touch no tumour, the largest of"
                f" {far[0].volume_ml:.0f} ml {reach:.0f} mm from it"
            )
        if lost:
            told += f"; {len(lost)} of {int(wanted.max())} pieces of the contour were not found"
        hot = self.scan.data[0]
        if theirs.any():
            told += f". Median SUV {np.median(hot[theirs]):.1f} in the contour"
            if (mine & ~theirs).any():
                told += f", {np.median(hot[mine & ~theirs]):.1f} in what was marked beside it"
        return f"{told}."

    def _to_contour_mm(self, point: Sequence[float]) -> float:
        places = self.reference.grid.world(np.argwhere(self._sides[1]).astype(float))
        return float(np.linalg.norm(places - np.asarray(point), axis=1).min())


def cases(model: Path, masks: Path) -> Iterator[Case]:
    """Every patient that was held out."""
    pipeline = with_input(load_pipeline(model), input=model / "held_out.csv")
    for study in studies_of(pipeline).studies:
        scan = read_scan(study, pipeline.input).volume
        path = masks / "masks" / f"{study.name}.nii.gz"
        mask, _ = read_labels(path, pipeline.labels, scan.grid, pipeline.input)
        assert study.reference is not None
        reference, _ = read_labels(study.reference, pipeline.labels, scan.grid, pipeline.input)
        yield Case(study.name, scan, mask, reference)


def results(found: Sequence[Case], model: Path, failures: int) -> list[str]:
    """The tables, and a sentence for each of the worst."""
    card = json.loads((model / "card.json").read_text())
    own = describe([case.dice for case in found])
    mine, theirs = zip(*(case.volumes_ml for case in found), strict=True)
    limits, agreed = bland_altman(mine, theirs), icc(list(zip(mine, theirs, strict=True)))
    off = median(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    around = f" (95 % {own.low:.3f} to {own.high:.3f})" if own.low is not None else ""
    lines = [
        f"Trained on {card['trained_on']} patients for {card['minutes']:.0f} minutes, tested on"
        f" {own.n}: mean Dice {own.mean:.3f}{around}, median {own.median:.3f}.",
        f"Volumes: median difference {off:.1f} ml of a median {median(theirs):.0f} ml",
    ]
    if limits is not None and agreed is not None:
        lines[-1] += (
            f"; bias {limits.bias:+.1f} ml, limits of agreement {limits.low:.0f} to"
            f" {limits.high:.0f} ml, ICC(2,1) {agreed.value:.3f} ({agreed.low:.2f} to"
            f" {agreed.high:.2f})."
        )
    ordered = sorted(found, key=lambda case: case.dice)
    rows = [
        [case.name, f"{case.dice:.3f}", *(f"{volume:.1f}" for volume in case.volumes_ml)]
        for case in ordered
    ]
    lines += ["", *markdown(["patient", "Dice", "mask ml", "contour ml"], rows), ""]
    return lines + [f"- {case.name}: {case.sentence}" for case in ordered[:failures]]


def draw_volumes(found: Sequence[Case], path: Path) -> None:
    """The volume of each mask against that of its contour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    mine, theirs = zip(*(case.volumes_ml for case in found), strict=True)
    mine = tuple(max(0.5, volume) for volume in mine)
    ends = [0.8 * min(*mine, *theirs), 1.25 * max(*mine, *theirs)]
    axes.plot(ends, ends, color="0.5", linewidth=0.8)
    axes.scatter(theirs, mine, s=16)
    axes.set(xlabel="contour in ml", ylabel="mask in ml", xscale="log", yscale="log")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train, segment, measure, and look at what failed."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--minutes", type=float, help="another budget than the pipeline's")
    asked.add_argument("--device")
    asked.add_argument("--failures", type=int, default=4)
    asked.add_argument("--work", type=Path, default=Path("out/sarcoma"))
    asked.add_argument("--write", action="store_true", help="into docs/benchmarks.md as well")
    options = asked.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    device = ["--device", options.device] if options.device else []
    where = ["--input", DATA / SARCOMA, "--reference", DATA / SARCOMA_MASKS]
    split_by = ["--folds", folds_file("test_of_41", work), "--fold", "test"]
    budget = settings(training__max_minutes=options.minutes)
    model, log = work / "model", work / "log.txt"
    words = ["train", PIPELINE, "--output", model, *where, *split_by, *budget, *device]
    medseg(*words, log=log)
    held_out = ["--input", model / "held_out.csv", "--output", work / "masks"]
    medseg("run", model, *held_out, *device, log=log)
    found = list(cases(model, work / "masks"))
    lines = results(found, model, options.failures)
    (work / "results.md").write_text("\n".join(lines) + "\n")
    worst = sorted(found, key=lambda case: case.dice)[: options.failures]
    panels = [panel(f"{c.name}: Dice {c.dice:.2f}", c.scan, c.reference, c.mask) for c in worst]
    (work / "failures.png").write_bytes(overlays_png(panels, found[0].mask.labels))
    draw_volumes(found, work / "volumes.png")
    print("\n".join(lines))
    if options.write:
        picture = f"pictures/{PIPELINE.stem}_volumes.png"
        draw_volumes(found, PAGE.parent / picture)
        lines += ["", f"![Volume of each mask against its contour's]({picture})"]
        write_between(PAGE, "sarcoma: made by benchmarks/sarcoma.py", lines)


if __name__ == "__main__":
    main()
