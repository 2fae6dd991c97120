"""What the README's first command shows: phantoms nobody trained on, organs and tumours found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import nibabel as nib
import pytest

from medseg.pipeline import load_pipeline
from medseg.run.predict import RunSummary, predict

REPOSITORY = Path(__file__).resolve().parents[1]
ORGANS = ("liver", "spleen", "kidney_right", "kidney_left", "spine", "brain", "ventricles")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    pipeline = load_pipeline(REPOSITORY / "pipelines/quickstart.yaml")
    return predict(replace(pipeline, output=tmp_path_factory.mktemp("quickstart")))


def mean_dice(result: RunSummary, label: str) -> float:
    values = [
        row["value"]
        for outcome in result.outcomes
        for row in outcome.record["metrics"]
        if row["metric"] == "dice" and row["label"] == label and row["value"] is not None
    ]
    return fmean(values)


def test_ct_and_mr_phantoms_all_end_in_masks(result: RunSummary) -> None:
    assert {outcome.name[:2] for outcome in result.outcomes} == {"ct", "mr"}
    assert not result.failures


@pytest.mark.parametrize("organ", ORGANS)
def test_organs_are_found(result: RunSummary, organ: str) -> None:
    assert mean_dice(result, organ) >= 0.90


@pytest.mark.parametrize("tumour", ["tumour", "lesion"])
def test_tumours_are_found(result: RunSummary, tumour: str) -> None:
    assert mean_dice(result, tumour) >= 0.75


def test_masks_lie_exactly_on_their_scans(result: RunSummary) -> None:
    for outcome in result.outcomes:
        scan = nib.load(
            REPOSITORY / "sample_data" / outcome.name[:2] / "images" / f"{outcome.name}.nii.gz"
        )
        mask = nib.load(result.output / "masks" / f"{outcome.name}.nii.gz")
        assert mask.shape == scan.shape
        assert mask.affine.tobytes() == scan.affine.tobytes()


def test_the_card_says_what_the_weights_are_and_are_not() -> None:
    card = json.loads((REPOSITORY / "sample_data/quickstart/card.json").read_text())
    assert "medical device" in card["intended_use"]
    assert card["trained_on"] > 0
    assert not {name[-4:] for name in card["held_out"]} & {"0001", "0002", "0003"}
