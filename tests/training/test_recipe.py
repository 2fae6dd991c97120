"""The ``training:`` section: what an optimizer is given where nothing is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg.pipeline import Pipeline, dump_pipeline, load_pipeline
from medseg.training import Training

PIPELINE = """\
name: ball
labels: {ball: 1}
inference: [{sliding_window: {model: dynunet, window: [16, 16, 16]}}]
training: {patch: [16, 16, 16], max_epochs: 1}
"""


def recipe(**more: Any) -> Training:
    return Training(patch=(8, 8), max_epochs=1, **more)


def pipeline(folder: Path, **more: Any) -> Pipeline:
    (folder / "recipe.yaml").write_text(PIPELINE)
    found = load_pipeline(folder / "recipe.yaml")
    return replace(found, training=replace(found.training, **more))  # type: ignore[type-var]


def test_each_optimizer_has_a_rate_and_a_decay_of_its_own() -> None:
    adamw, sgd = recipe(), recipe(optimizer="sgd")
    assert (adamw.rate, adamw.decay) == (1e-3, 1e-2)
    assert (sgd.rate, sgd.decay, sgd.momentum) == (1e-2, 3e-5, 0.99)
    said = recipe(optimizer="sgd", learning_rate=1e-3, weight_decay=0.0)
    assert (said.rate, said.decay) == (1e-3, 0.0)


@pytest.mark.parametrize("named", [{}, {"learning_rate": 1e-3, "weight_decay": 1e-2}])
def test_what_adamw_has_anyway_is_left_out_of_its_recipe(
    tmp_path: Path, named: dict[str, float]
) -> None:
    text = dump_pipeline(pipeline(tmp_path, **named))
    assert text.endswith("training: {patch: [16, 16, 16], max_epochs: 1}\n")


@pytest.mark.parametrize("rate", [None, 1e-3, 1e-2])
def test_a_recipe_of_sgd_says_what_it_has_and_is_read_back_equal(
    tmp_path: Path, rate: float | None
) -> None:
    asked = pipeline(tmp_path, optimizer="sgd", learning_rate=rate)
    text = dump_pipeline(asked)
    assert f"learning_rate: {rate or 1e-2}" in text
    assert "weight_decay: 3.0e-05" in text
    (tmp_path / "again.yaml").write_text(text)
    assert load_pipeline(tmp_path / "again.yaml") == asked
