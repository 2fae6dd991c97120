"""Real masks: three simulated readers of tumours, and folders of other tools."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, shift
from support.studies import save

from medseg.metrics import Dice, Nsd
from medseg.run.evaluate import Asked
from medseg.run.readers import evaluate_readers

pytestmark = [pytest.mark.slow, pytest.mark.real]


def reader(mask: np.ndarray, hand: int, chance: np.random.Generator) -> np.ndarray:
    """A hand of its own: one draws large, one small, one with a tremor."""
    if hand == 0:
        drawn = binary_dilation(mask) & (chance.random(mask.shape) < 0.4) | mask
    elif hand == 1:
        drawn = binary_erosion(mask) | (mask & (chance.random(mask.shape) < 0.6))
    else:
        drawn = shift(mask.astype(float), chance.normal(0, 0.5, 3), order=1) > 0.5
    return drawn.astype(np.uint8)


def test_a_model_and_three_readers_of_sarcomas(real_data: Path, tmp_path: Path) -> None:
    masks = sorted((real_data / "sarcoma/nifti").rglob("*mask*.nii.gz"))[:12]
    assert masks
    chance = np.random.default_rng(0)
    for number, path in enumerate(masks):
        image = nib.load(path)
        truth = np.asarray(image.dataobj) > 0
        drawn = {f"reader_{hand}": reader(truth, hand, chance) for hand in range(3)}
        drawn |= {"good": truth.astype(np.uint8), "bad": np.roll(truth, 4, 0).astype(np.uint8)}
        for name, data in drawn.items():
            save(tmp_path / name / f"case_{number:02d}.nii.gz", data, image.affine)
    readers = {f"reader_{hand}": tmp_path / f"reader_{hand}" for hand in range(3)}
    asked = Asked((Dice(), Nsd(tolerances_mm=(4.0,))))
    said = {
        name: evaluate_readers(tmp_path / name, readers, asked, tmp_path / f"out_{name}").agreement
        for name in ("good", "bad")
    }
    for name, wanted in (("good", "yes"), ("bad", "no")):
        assert said[name]["among_readers"]["1"]["dice"]["within"] == wanted
    pairs = {(p["one"], p["other"], p["metric"]): p["mean"] for p in said["good"]["pairs"]}
    best = max(pairs["model", f"reader_{hand}", "dice"] for hand in range(3))
    assert pairs["model", "consensus_majority", "dice"] > best
    assert pairs["model", "consensus_staple", "dice"] > 0.9
