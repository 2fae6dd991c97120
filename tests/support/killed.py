"""Train, be killed at random moments, go on; run on its own, as it forks and kills.

    python killed.py FOLDER KILLS SEED

``FOLDER`` has recipe.yaml; a line of JSON tells how often a training was killed, after how many
iterations, and whether the weights are those of a training that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from medseg.pipeline import Pipeline, load_pipeline
from medseg.run import model_folder
from medseg.run.train import train
from medseg.run.validation import trainable
from medseg.training.learner import Learner


def begun(pipeline: Pipeline, model: Path) -> tuple[int, int]:
    """A training in a process of its own: its number, and where it writes a byte a step."""
    out, into = os.pipe()
    child = os.fork()
    if child:
        os.close(into)
        return child, out
    step = Learner.step

    def told(self: Learner, *batch: Any) -> torch.Tensor:
        os.write(into, b".")
        return step(self, *batch)

    Learner.step = told  # type: ignore[method-assign]
    os._exit(0 if train(pipeline, model, fold="0").iterations else 1)


def ended(child: int, out: int) -> bool:
    """Wait for a training; whether it was killed. Any other failure is one."""
    os.close(out)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


def iterations(model: Path) -> int:
    """How far the checkpoint of a model folder is."""
    path = model / "checkpoint.pt"
    if not path.exists():
        return 0
    return int(torch.load(path, weights_only=True)["learner"]["iteration"])


def main(folder: Path, kills: int, seed: int) -> None:
    """Disturb a training, and compare."""
    pipeline, chance = load_pipeline(folder / "recipe.yaml"), random.Random(seed)
    recipe, step = trainable(pipeline)
    assert recipe.max_epochs is not None
    step.model(1, 2)  # what it imports need not be imported by every child
    model_folder.find_spec = lambda *_: None  # type: ignore[assignment]
    assert not ended(*begun(pipeline, folder / "calm"))
    often, found = recipe.max_epochs * recipe.batches // kills, []
    while len(found) < kills and not (folder / "killed/card.json").exists():
        child, out = begun(pipeline, folder / "killed")
        for _ in range(chance.randint(1, often)):
            os.read(out, 1)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        if ended(child, out):
            found.append(iterations(folder / "killed"))
    assert not ended(*begun(pipeline, folder / "killed"))
    states = [torch.load(folder / one / "checkpoint.pt") for one in ("calm", "killed")]
    both = [(folder / one / "weights.safetensors").read_bytes() for one in ("calm", "killed")]
    losses = [[epoch["loss"] for epoch in state["epochs"]] for state in states]
    told: dict[str, object] = {"iterations": found, "equal": both[0] == both[1]}
    told["losses"] = losses[0] == losses[1]
    told["optimizer"] = _alike(*(state["learner"] for state in states))
    sys.stdout.write(json.dumps(told) + "\n")


def _alike(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
