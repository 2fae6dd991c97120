"""Three simulated readers of tumours, and three models among them: the table of docs/metrics.md.

    python benchmarks/readers.py --data ../shared/data/sarcoma/nifti --output out/readers

Each reader draws the true border with a hand of its own: a bias in mm, and a wave along the border
of which 95 % lies within twice ``wave_mm``. One model draws as a fourth reader would, one is too
generous by 4 mm, and one follows what the readers agree on without a wave. Every model's folder
has all that ``medseg evaluate --references a=DIR b=DIR c=DIR --report`` writes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medseg.metrics import Dice, Hd95, Nsd, VolumeDifference
from medseg.run.evaluate import Asked
from medseg.run.readers import evaluate_readers
from medseg.run.report import write_report

TOLERANCE_MM = 4.0
_SMOOTH_MM = 8.0


@dataclass(frozen=True)
class Hand:
    """How somebody draws: outwards by ``bias_mm``, with a wave of ``wave_mm`` (SD)."""

    bias_mm: float
    wave_mm: float


READERS = {"reader_a": Hand(1.5, 2.0), "reader_b": Hand(-1.5, 2.0), "reader_c": Hand(0.0, 2.5)}
MODELS = {"as_a_reader": Hand(1.0, 2.2), "generous": Hand(4.0, 2.0), "steady": Hand(0.0, 0.5)}


def drawn(mask: np.ndarray, spacing_mm: np.ndarray, hand: Hand, seed: int) -> np.ndarray:
    """The mask with its border moved; never quite empty."""
    outside = distance_transform_edt(~mask, spacing_mm)
    inside = distance_transform_edt(mask, spacing_mm)
    noise = np.random.default_rng(seed).normal(size=mask.shape)
    wave = gaussian_filter(noise, _SMOOTH_MM / spacing_mm)
    # Distances jump by a voxel at the border, and a hand moves by less.
    border = gaussian_filter(outside - inside, 0.7)
    far = border - hand.bias_mm - hand.wave_mm * wave / wave.std()
    return np.asarray(far <= max(0.0, float(far.min())), np.uint8)


def write(data: Path, output: Path) -> None:
    """A folder of masks for each reader and model."""
    for place, path in enumerate(sorted(data.glob("*/PET_mask.nii.gz"))):
        image = nib.load(path)
        truth = np.asarray(image.dataobj) > 0
        spacing = np.asarray(image.header.get_zooms()[:3], float)
        for number, (name, hand) in enumerate((READERS | MODELS).items()):
            found = drawn(truth, spacing, hand, 100 * place + number)
            target = output / name / f"{path.parent.name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(found, image.affine), target)


def rows(name: str, said: dict[str, Any]) -> list[str]:
    """Lines of the table of one model."""
    told = []
    for metric, one in said["among_readers"]["1"].items():
        interval = f"{one['index']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        told.append(
            f"| {name.replace('_', ' ')} | `{metric}` | {one['model']:.3f} | {one['readers']:.3f} |"
            f" {interval} | {one['within']} |"
        )
    return told


def main() -> None:
    """Make the masks, place each model among the readers, print the tables, write the pages."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--output", type=Path, required=True)
    words.add_argument("--jobs", type=int)
    said = words.parse_args()
    write(said.data, said.output)
    readers = {name: said.output / name for name in READERS}
    metrics = (Dice(), VolumeDifference(), Hd95(), Nsd(tolerances_mm=(TOLERANCE_MM,)))
    found = {}
    for model in MODELS:
        place = said.output / "out" / model
        asked = Asked(metrics, jobs=said.jobs, scans=said.data / "{study}" / "PET_image.nii.gz")
        found[model] = evaluate_readers(said.output / model, readers, asked, place).agreement
    tell(found)
    for model in MODELS:
        write_report(said.output / "out" / model)


def tell(found: dict[str, dict[str, Any]]) -> None:
    """Print both tables."""
    first = found["as_a_reader"]
    print(f"{first['studies']} tumours, Fleiss' kappa {first['fleiss_kappa']['1']['mean']:.3f}\n")
    print("| model | metric | with readers | readers with readers | index (95 %) | within? |")
    print("|---|---|---:|---:|---:|---|")
    print("\n".join(line for name, one in found.items() for line in rows(name, one)), "\n")
    print("| pair | Dice | HD95, mm |\n|---|---:|---:|")
    pairs: dict[str, dict[str, float]] = {}
    for one in first["pairs"]:
        pairs.setdefault(f"{one['one']} – {one['other']}", {})[one["metric"]] = one["mean"]
    for pair, of in pairs.items():
        called = pair.replace("_", " ").replace("consensus ", "")
        print(f"| {called} | {of['dice']:.3f} | {of['hd95_surfels']:.2f} |")


if __name__ == "__main__":
    main()
