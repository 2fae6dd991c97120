"""SEG and RTSTRUCT are references: a network is trained on them, and masks are judged by them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.dicom import lps, write_series
from support.studies import ball

from medseg.cli import main
from medseg.image import Label, LabelMap, Labels
from medseg.io.dicom.rtstruct_write import write_contours
from medseg.io.dicom.seg_write import write_segments
from medseg.io.dicom.source import source_of
from medseg.pipeline import load_pipeline
from medseg.run.predict import predict
from medseg.run.train import train

RECIPE = """\
name: ball
labels: {ball: 1}
input:
  path: scans
  series: {description: portal}
  rois: {ball: GTV one}
preprocess:
  - orientation: {axcodes: RAS}
  - normalize_intensity
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: batch}
      window: [16, 16, 16]
training:
  patch: [16, 16, 16]
  batch: 2
  batches: 8
  max_epochs: 4
  learning_rate: 1e-2
  precision: float32
  augmentation: [{rand_flip: {prob: 0.5}}]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Six patients in one folder, each with a second series; every other one has a SEG."""
    folder = tmp_path / "scans"
    labels = Labels((Label("GTV one", (1,)), Label("elsewhere", (2,))))
    for number in range(6):
        image, truth = ball(number)
        alone = tmp_path / str(number)
        visit = {"StudyInstanceUID": f"1.2.3.{number}"}
        pixels = image.astype(np.int16)
        write_series(alone, pixels, lps(), SeriesDescription="portal venous", **visit)
        source = source_of(alone)
        truth[:2, :2, 4:6] = 2
        mask = LabelMap(truth, source.placed.grid, labels)
        write = write_segments if number % 2 else write_contours
        write(alone / "drawn.dcm", mask, source)
        write_series(alone, pixels * 0, lps(), prefix="N", SeriesNumber=7, **visit)
        folder.mkdir(exist_ok=True)
        for path in alone.iterdir():
            path.rename(folder / f"{number}_{path.name}")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_network_is_trained_on_drawings_and_judged_by_them(recipe: Path) -> None:
    model = recipe.parent / "model"
    result = train(load_pipeline(recipe), model, fold="0")
    assert len(result.split.trained_on) + len(result.split.held_out) == 6
    loaded = load_pipeline(model)
    # All patients lie in one folder, of which the table of those held out means some series.
    where = replace(loaded.input, path=model / "held_out.csv", series=None)
    summary = predict(replace(loaded, input=where, output=recipe.parent / "out"))
    assert [outcome.name for outcome in summary.outcomes] == list(result.split.held_out)
    for outcome in summary.outcomes:
        assert outcome.error is None
        dice = next(row for row in outcome.record["metrics"] if row["metric"] == "dice")
        assert dice["value"] > 0.6
    judged = recipe.parent / "judged"
    words = ["evaluate", str(recipe.parent / "out/masks"), "--reference"]
    more = [str(recipe.parent / "scans"), "--pipeline", str(recipe), "--output", str(judged)]
    done = CliRunner().invoke(main, [*words, *more])
    assert done.exit_code == 0, done.output
    with (judged / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "dice"]
    again = {row["study"]: float(row["value"]) for row in rows}
    assert set(again) == set(result.split.held_out)
    for outcome in summary.outcomes:
        value = next(r["value"] for r in outcome.record["metrics"] if r["metric"] == "dice")
        assert again[outcome.name] == pytest.approx(value, abs=1e-4)
