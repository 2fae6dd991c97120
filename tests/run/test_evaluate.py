"""``medseg evaluate``: two folders of masks, of any tool."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from support.studies import save

from medseg.errors import InputError
from medseg.image import Label, Labels
from medseg.metrics import Dice, Iou
from medseg.run.evaluate import EvaluationSummary, evaluate


def boxes(folder: Path, shift: int) -> Path:
    for number in range(3):
        mask = np.zeros((10, 10, 10), np.uint8)
        mask[2:6, 2:6, 2 + shift : 6 + shift] = 1
        mask[7:9, 7:9, 7:9] = 5
        save(folder / f"case_{number}.nii.gz", mask)
    return folder


def compared(tmp_path: Path, labels: Labels | None = None) -> EvaluationSummary:
    predictions, references = boxes(tmp_path / "mine", 1), boxes(tmp_path / "theirs", 0)
    return evaluate(
        predictions, references, labels, metrics=(Dice(), Iou()), output=tmp_path / "out"
    )


def test_two_folders_of_masks_need_no_pipeline(tmp_path: Path) -> None:
    compared(tmp_path)
    with (tmp_path / "out/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = {(r["study"], r["label"], r["metric"]): float(r["value"]) for r in rows}
    assert values["case_0", "1", "dice"] == pytest.approx(0.75)
    assert values["case_0", "1", "iou"] == pytest.approx(0.6)
    assert values["case_2", "5", "dice"] == 1.0
    assert len(rows) == 3 * 2 * 2


def test_regions_may_overlap(tmp_path: Path) -> None:
    labels = Labels((Label("whole", (1, 5)), Label("part", (5,))))
    summary = compared(tmp_path, labels).summary
    assert set(summary["metrics"]) == {"whole", "part"}


def test_a_mask_on_another_grid_fails_by_name_and_the_others_are_done(tmp_path: Path) -> None:
    boxes(tmp_path / "mine", 1)
    references = boxes(tmp_path / "theirs", 0)
    save(tmp_path / "mine/case_1.nii.gz", np.ones((4, 4, 4), np.uint8))
    summary = evaluate(
        tmp_path / "mine", references, None, metrics=(Dice(),), output=tmp_path / "out"
    )
    assert {name: e.code for name, e in summary.failures.items()} == {"case_1": "E_LABEL_GEOMETRY"}
    assert json.loads((tmp_path / "out/summary.json").read_text())["done"] == 2


def test_names_that_do_not_match_are_said(tmp_path: Path) -> None:
    predictions = boxes(tmp_path / "mine", 0)
    save(tmp_path / "theirs/other.nii.gz", np.zeros((10, 10, 10), np.uint8))
    with pytest.raises(InputError, match="E_NO_INPUT"):
        evaluate(predictions, tmp_path / "theirs", None, metrics=(Dice(),), output=tmp_path / "out")


def test_empty_references_alone_name_no_labels(tmp_path: Path) -> None:
    predictions = boxes(tmp_path / "mine", 0)
    for number in range(3):
        save(tmp_path / f"theirs/case_{number}.nii.gz", np.zeros((10, 10, 10), np.uint8))
    with pytest.raises(InputError, match="empty"):
        evaluate(predictions, tmp_path / "theirs", None, metrics=(Dice(),), output=tmp_path / "out")
