"""A left is not taken for a right: not in training, and not where mirror images are averaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import PipelineError
from medseg.pipeline import load_pipeline

RECIPE = """\
name: kidneys
labels: {kidney_left: 1, kidney_right: 2}
inference:
  - sliding_window:
      {model: {name: dynunet, widths: [4, 8, 8]}, window: [16, 16, 16], mirror: MIRROR}
training: {patch: [16, 16, 16], max_epochs: 1, augmentation: [{rand_flip: FLIP}]}
"""
SLICES = """\
name: kidneys
labels: {kidney_left: 1, kidney_right: 2}
inference:
  - slices:
      {model: {name: dynunet, spatial_dims: 2, widths: [4, 8, 8]}, window: [16, 16], axes: AXES}
training:
  patch: [16, 16]
  max_epochs: 1
  augmentation: [{rand_flip: {swap: {kidney_left: kidney_right}}}]
"""


def complaints(folder: Path, text: str) -> list[str]:
    path = folder / "kidneys.yaml"
    path.write_text(text)
    try:
        load_pipeline(path)
    except PipelineError as error:
        return [str(one) for one in error.complaints]
    return []


@pytest.mark.parametrize(
    ("flip", "mirror", "told"),
    [
        ("{axes: [1, 2]}", "[1, 2]", None),
        ("{swap: {kidney_left: kidney_right}}", "[1]", None),
        ("{axes: [0]}", "[]", "mirror image along axis 0"),
        ("{axes: [1]}", "[0, 1]", "leave 0 out"),
    ],
)
def test_sides_keep_their_names(tmp_path: Path, flip: str, mirror: str, told: str | None) -> None:
    found = complaints(tmp_path, RECIPE.replace("FLIP", flip).replace("MIRROR", mirror))
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


@pytest.mark.parametrize(
    ("augmentation", "mirror", "strange"),
    [
        ("[{rand_flip: {axes: [1, 2]}}]", "[2, 1]", None),
        ("[{rand_flip: {axes: [1]}}, {rand_flip: {axes: [2]}}]", "[1, 2]", None),
        ("[{rand_flip: {axes: [1]}}]", "[1, 2]", 2),
        ("[{rand_flip: {axes: [1, 2], prob: 0}}]", "[1]", 1),
        ("[]", "[1]", 1),
        ("[]", "[]", None),
    ],
)
def test_mirror_images_that_training_never_saw_are_not_asked_about(
    tmp_path: Path, augmentation: str, mirror: str, strange: int | None
) -> None:
    text = RECIPE.replace("[{rand_flip: FLIP}]", augmentation).replace("MIRROR", mirror)
    told = "".join(complaints(tmp_path, text))
    assert (f"mirrors axis {strange}" in told) == (strange is not None)
    assert bool(told) == (strange is not None)


@pytest.mark.parametrize(("axes", "count"), [("[2]", 0), ("[1, 2]", 0), ("[0, 2]", 1)])
def test_slices_without_left_and_right_exchange_nothing(
    tmp_path: Path, axes: str, count: int
) -> None:
    assert len(complaints(tmp_path, SLICES.replace("AXES", axes))) == count
