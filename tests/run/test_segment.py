"""The corridor: crops by another pipeline's mask, refusals before work, nothing forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.studies import ball

from medseg.errors import StudyError
from medseg.image import Grid, Volume
from medseg.pipeline import Limits, Pipeline, load_pipeline
from medseg.run.segment import Clock, prepared, segment

BODY = """\
name: body
labels: {body: 1}
inference:
  - threshold: {minimum: 50}
"""
WITHIN = """\
name: hot
labels: {hot: 1}
within: {pipeline: body.yaml, margin_mm: MARGIN}
inference:
  - threshold: {minimum: -1000}
"""


def scan(image: np.ndarray) -> Volume:
    affine = np.diag([2.0, -1.0, 3.0, 1.0])
    return Volume(image.astype(np.float32)[None], Grid(affine, image.shape))


def cascade(folder: Path, margin_mm: float) -> Pipeline:
    (folder / "body.yaml").write_text(BODY)
    path = folder / "hot.yaml"
    path.write_text(WITHIN.replace("MARGIN", str(margin_mm)))
    return load_pipeline(path)


def test_within_decides_nothing_outside_the_other_mask_and_its_margin(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 12))
    image[8:11, 12:17, 5:7] = 100
    mask = segment(scan(image), cascade(tmp_path, 4.0)).mask
    wanted = np.zeros(image.shape, bool)
    # 4 mm are 2 voxels of 2 mm, 4 of 1 mm, and 2 of 3 mm, as margins are never cut short.
    wanted[6:13, 8:21, 3:9] = True
    assert np.array_equal(mask.data > 0, wanted)


def test_a_margin_ends_at_the_edge_of_the_scan(tmp_path: Path) -> None:
    image = np.zeros((9, 9, 9))
    image[0, 0, 0] = 100
    volume, _ = prepared(scan(image), cascade(tmp_path, 100.0))
    assert volume.data.shape[1:] == image.shape


def test_an_empty_crop_takes_the_whole_scan_and_says_so(tmp_path: Path) -> None:
    answer = segment(scan(np.zeros((9, 9, 9))), cascade(tmp_path, 0.0))
    assert answer.mask.data.all()
    assert [caution.code for caution in answer.cautions] == ["W_EMPTY_MASK"]


def test_an_empty_mask_is_a_result_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "body.yaml"
    path.write_text(BODY)
    answer = segment(scan(np.zeros((9, 9, 9))), load_pipeline(path))
    assert not answer.mask.data.any()
    assert [caution.code for caution in answer.cautions] == ["W_EMPTY_MASK"]


def test_every_stage_is_timed_and_told(tmp_path: Path) -> None:
    heard: list[str] = []
    clock = Clock(heard.append)
    image, _ = ball(3)
    answer = segment(scan(image), cascade(tmp_path, 2.0), clock)
    assert heard == ["within", "preprocess", "inference", "decision", "postprocess"]
    assert set(answer.seconds) == set(heard)


def test_scores_beyond_the_limit_are_refused_before_the_network_is_asked(tmp_path: Path) -> None:
    (tmp_path / "body.yaml").write_text(BODY)
    pipeline = load_pipeline(tmp_path / "body.yaml")

    def ask(*_: object) -> None:
        pytest.fail("the network was asked")

    asking = replace(pipeline, inference=(ask,))  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"2 channels on 20x22x18 voxels need .* GiB"):
        segment(scan(ball(0)[0]), asking, limits=Limits(memory_gib=1e-5))


def test_models_are_averaged_before_the_decision(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nlabels: {hot: 1}\ninference:\n"
        "  - threshold: {minimum: 10}\n  - threshold: {minimum: 20}\n  - threshold: {minimum: 30}\n"
    )
    image = np.zeros((5, 5, 5))
    image[1, 1, 1], image[2, 2, 2], image[3, 3, 3] = 15, 25, 35
    mask = segment(scan(image), load_pipeline(path)).mask
    assert np.argwhere(mask.data).tolist() == [[2, 2, 2], [3, 3, 3]]
