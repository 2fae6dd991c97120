"""Preprocessed studies on disk are those in memory, and made anew when anything changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.studies import ball, ball_studies, save

from medseg.io import find_studies
from medseg.pipeline import Pipeline, load_pipeline
from medseg.run.cases import read_cases
from medseg.run.events import unheard
from medseg.training.packed import Packed
from medseg.training.sampling import Case, Sampler, Stored

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
preprocess: [{orientation: {axcodes: RAS}}, normalize_intensity]
inference:
  - sliding_window: {model: {name: dynunet, widths: [4, 8, 8]}, window: [16, 16, 16]}
training: {patch: [12, 12, 12], batch: 4, max_epochs: 1, foreground: 0.5}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ball_studies(tmp_path, 3)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def pipeline(folder: Path, **training: Any) -> Pipeline:
    found = load_pipeline(folder / "recipe.yaml")
    assert found.training is not None
    return replace(found, training=replace(found.training, **training))


def cases(folder: Path, asked: Pipeline) -> list[Case]:
    studies = find_studies(folder / "images", reference=folder / "labels").studies
    return read_cases(asked, studies, folder, unheard)


def batches(found: list[Case], asked: Pipeline) -> list[torch.Tensor]:
    assert asked.training is not None
    sampler = Sampler(found, asked.training)
    return [part for number in range(4) for part in sampler.batch(number)]


@pytest.mark.parametrize(("cache", "kind"), [("disk", np.memmap), ("compressed", Packed)])
def test_batches_from_disk_are_those_from_memory(folder: Path, cache: str, kind: type) -> None:
    plain, disk = pipeline(folder), pipeline(folder, cache=cache)
    wanted = batches(cases(folder, plain), plain)
    for turn in range(2):
        found = cases(folder, disk)
        assert isinstance(found[0].image, Stored)
        assert isinstance(found[0].image.data, kind)
        for mine, theirs in zip(batches(found, disk), wanted, strict=True):
            assert torch.equal(mine, theirs), turn


@pytest.mark.parametrize("cache", ["memory", "disk", "compressed"])
def test_half_the_bytes_are_nearly_the_same_voxels(folder: Path, cache: str) -> None:
    half = pipeline(folder, cache=cache, cache_float="float16")
    found, plain = cases(folder, half), cases(folder, pipeline(folder))
    assert found[0].image.data.dtype == np.float16
    for mine, theirs in zip(found, plain, strict=True):
        assert np.abs(np.asarray(mine.image.data) - theirs.image.data).max() < 5e-3
        assert mine.image.grid.near(theirs.image.grid)
        for value, places in theirs.foreground.items():
            assert np.array_equal(places, mine.foreground[value])


def test_nothing_is_preprocessed_twice_and_what_changed_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medseg.run.cases as module

    read: list[str] = []
    scan = module.read_scan
    monkeypatch.setattr(module, "read_scan", lambda s, o: (read.append(s.name), scan(s, o))[1])
    disk = pipeline(folder, cache="disk")
    cases(folder, disk)
    cases(folder, disk)
    assert read == ["study_00", "study_01", "study_02"]
    image, _ = ball(9)
    save(folder / "images/study_01.nii.gz", image)
    cases(folder, disk)
    assert read[3:] == ["study_01"]
    other = replace(disk, preprocess=disk.preprocess[:1])
    cases(folder, other)
    assert read[4:] == ["study_00", "study_01", "study_02"]


def test_a_cache_that_was_broken_off_is_made_anew(folder: Path) -> None:
    disk = pipeline(folder, cache="disk")
    cases(folder, disk)
    for path in (folder / "cache").glob("study_02*.json"):
        path.unlink()
    for path in (folder / "cache").glob("study_02*.image.npy"):
        path.write_bytes(b"half")
    assert len(cases(folder, disk)) == 3
