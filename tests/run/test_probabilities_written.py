"""Probabilities beside masks: asked for, calibrated, made anew at another temperature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.studies import ball_studies

from medseg.errors import PipelineError
from medseg.metrics import Instances
from medseg.pipeline import Calibration, Pipeline, load_pipeline
from medseg.pipeline.parts import Output
from medseg.run.predict import predict
from medseg.run.train import train

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
preprocess: [{orientation: {axcodes: RAS}}, normalize_intensity]
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: batch}
      window: [16, 16, 16]
training: {patch: [16, 16, 16], batches: 4, max_epochs: 1, precision: float32, learning_rate: 1e-2}
"""


@pytest.fixture
def model(tmp_path: Path) -> Pipeline:
    ball_studies(tmp_path, 2)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    train(load_pipeline(tmp_path / "recipe.yaml"), tmp_path / "model")
    trained = load_pipeline(tmp_path / "model")
    where = replace(trained.input, path=tmp_path / "images", reference=tmp_path / "labels")
    out = Output(path=tmp_path / "out", probabilities=True)
    return replace(trained, input=where, output=out, instances=Instances())


def told(folder: Path) -> np.ndarray:
    image = nib.load(folder / "probabilities" / "study_00.nii.gz")
    mask = nib.load(folder / "masks" / "study_00.nii.gz")
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert image.shape == (*mask.shape, 1)
    return np.asarray(image.dataobj)[..., 0]


def test_probabilities_agree_with_the_mask_and_say_how_sure_lesions_are(model: Pipeline) -> None:
    out = model.output_options.path
    assert out is not None
    summary = predict(model)
    assert not summary.failures
    shares = told(out)
    mask = np.asarray(nib.load(out / "masks" / "study_00.nii.gz").dataobj) == 1
    assert 0 <= shares.min() <= shares.max() <= 1
    np.testing.assert_array_equal(mask, shares > 0.5)
    record = summary.outcomes[0].record
    assert record["probabilities"]["labels"] == ["ball"]
    lesion = next(one for one in record["instances"] if one["mask"] == "prediction")
    assert 0.5 < lesion["mean_confidence"] <= 1


def test_another_temperature_changes_probabilities_and_no_mask(model: Pipeline) -> None:
    out = model.output_options.path
    assert out is not None
    predict(model)
    before, mask = told(out), (out / "masks" / "study_00.nii.gz").read_bytes()
    assert [one.state for one in predict(model).outcomes] == ["kept", "kept"]
    softer = replace(model, calibration=Calibration(3.0))
    assert [one.state for one in predict(softer).outcomes] == ["done", "done"]
    after = told(out)
    assert (out / "masks" / "study_00.nii.gz").read_bytes() == mask
    wanted = 1 / (1 + (1 / np.clip(before, 1e-5, 1 - 1e-5) - 1) ** (1 / 3))
    clear = (before > 1e-3) & (before < 1 - 1e-3)
    np.testing.assert_allclose(after[clear], wanted[clear], atol=2e-3)


def test_a_temperature_of_nothing_is_refused_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + "calibration: {temperature: 0}\n")
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path)
    assert caught.value.complaints[0].path.endswith("recipe.yaml")
    assert "temperature" in caught.value.complaints[0].message
