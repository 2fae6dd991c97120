"""Two processes that torchrun starts learn what one would have learnt."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from support.studies import ball_studies

from medseg.errors import PipelineError
from medseg.inference import SlidingWindow
from medseg.models.checkpoint import read_safetensors
from medseg.pipeline import load_pipeline
from medseg.run.folds import Split
from medseg.run.model_folder import ModelFolder
from medseg.run.train import _check_team
from medseg.training import Training
from medseg.training.growth import Growth
from medseg.training.team import ALONE, Team, own_device

RECIPE = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
deterministic: true
preprocess: [{orientation: {axcodes: RAS}}, normalize_intensity]
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 8], norm: instance}
      window: [16, 16, 16]
training:
  patch: [16, 16, 16]
  batch: 4
  batches: 5
  max_epochs: 2
  optimizer: sgd
  momentum: 0.9
  learning_rate: 1e-2
  precision: float32
  # The mean over halves of a batch is the mean over all of it; Dice is not such a mean.
  dice_weight: 0
  validate: 1
  cache: disk
  augmentation: [{rand_flip: {prob: 0.5}}, {rand_gaussian_noise: {prob: 0.5}}]
"""


def trained(folder: Path, name: str, *before: str) -> dict[str, torch.Tensor]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", *before, "medseg", "train", str(folder / "recipe.yaml"),
             "--output", str(folder / name), "--fold", "0"]  # fmt: skip
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("medseg run") == 1
    return dict(read_safetensors(folder / name / "weights.safetensors"))


@pytest.mark.slow
def test_two_processes_learn_what_one_would_have_learnt(tmp_path: Path) -> None:
    ball_studies(tmp_path, 5)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    alone = trained(tmp_path, "alone")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    run = ["torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}", "-m"]
    team = trained(tmp_path, "team", *run)
    assert load_pipeline(tmp_path / "team").name == "ball"
    begun = torch.zeros(1)
    for key, weight in alone.items():
        assert torch.allclose(weight, team[key], atol=2e-5), key
        begun = begun + weight.abs().sum()
    assert begun > 0


def test_one_process_is_a_team_of_itself() -> None:
    assert ALONE.leads
    assert ALONE.agreed(1.5, 2.0) == (1.5, 2.0)
    assert own_device("cuda") == "cuda"
    assert own_device("auto") == "auto"


def test_a_checkpoint_is_taken_up_by_every_process_of_a_team(tmp_path: Path) -> None:
    """Each has a device of its own, which is no part of the recipe."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    pipeline = load_pipeline(tmp_path / "recipe.yaml")
    step = pipeline.inference[0]
    assert isinstance(step, SlidingWindow)
    kept = []
    for rank in (0, 1):
        own = replace(step, device=f"cuda:{rank}")
        moved = replace(pipeline, inference=(own,))
        folder = ModelFolder(tmp_path, moved, own, device=step.device)
        kept.append(folder.digests(Split(("a",))))
        assert folder.described() == ModelFolder(tmp_path, pipeline, step).described()
        assert folder.trained().inference[0].device == f"cuda:{rank}"  # type: ignore[attr-defined]
    assert kept[0][0] == kept[1][0]


def test_a_team_shares_batches_fairly_and_does_not_grow() -> None:
    pair = Team(0, 2)
    _check_team(Training(patch=(8, 8), batch=4, max_epochs=1), pair)
    with pytest.raises(PipelineError, match="not to be shared by 2"):
        _check_team(Training(patch=(8, 8), batch=3, max_epochs=1), pair)
    with pytest.raises(PipelineError, match="growth is for one process"):
        _check_team(Training(patch=(8, 8), batch=4, max_epochs=1, growth=Growth()), pair)
