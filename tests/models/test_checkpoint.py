"""Checkpoints of other projects: found in their files, and put into a network by an importer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medseg.errors import ModelError
from medseg.image import Grid, Label, Labels, Volume
from medseg.inference import SlidingWindow
from medseg.models import DynUNet
from medseg.models.checkpoint import Checkpoint, read_tensors
from medseg.models.importers import Imported
from medseg.models.weights import load_weights, weights_bytes

NETWORK = DynUNet(widths=(4, 6, 8))
LABELS = Labels((Label("organ", (1,)),))


def theirs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {f"their.{key}": value for key, value in NETWORK(1, 2).state_dict().items()}


def read(state: Mapping[str, Tensor]) -> Imported:
    own = {key[6:]: value for key, value in state.items() if key.startswith("their.")}
    return Imported(NETWORK, 1, 2, own, tuple(key for key in state if key[6:] not in own))


@pytest.fixture(autouse=True)
def importer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format of our own in the place of a real one."""
    name = "medseg.models.importers.uctransnet"
    module = ModuleType(name)
    module.read = read  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("around", [None, "state_dict", "model"])
def test_a_state_dict_is_found_wherever_torch_saved_it(tmp_path: Path, around: str | None) -> None:
    path = tmp_path / "theirs.pth"
    state = {**theirs(), "mask_values": [0, 1]}
    torch.save(state if around is None else {around: state, "epoch": 3}, path)
    found = read_tensors(path)
    assert all(torch.equal(found[key], tensor) for key, tensor in theirs().items())


def test_safetensors_are_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file(theirs(), path)
    assert read_tensors(path).keys() == theirs().keys()


def test_a_checkpoint_fills_the_network_and_names_what_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    torch.save({**theirs(), "optimizer_steps": torch.ones(1)}, path)
    module = NETWORK(1, 2)
    assert load_weights(module, Checkpoint(path, "uctransnet")) == ("optimizer_steps",)
    assert all(torch.equal(theirs()[f"their.{k}"], v) for k, v in module.state_dict().items())


def test_masks_made_with_left_over_tensors_say_so(tmp_path: Path) -> None:
    path, own = tmp_path / "theirs.pth", tmp_path / "own.safetensors"
    torch.save({**theirs(), "aux.weight": torch.ones(1)}, path)
    own.write_bytes(weights_bytes({key[6:]: value for key, value in theirs().items()}))
    data = np.random.default_rng(0).normal(size=(1, 9, 8, 8)).astype(np.float32)
    volume = Volume(data, Grid(np.eye(4), (9, 8, 8)))
    step = SlidingWindow(model=NETWORK, weights=Checkpoint(path, "uctransnet"), window=(8, 8, 8))
    scores = step(volume, LABELS)
    assert [caution.code for caution in scores.cautions] == ["W_UNUSED_WEIGHTS"]
    assert "aux.weight" in scores.cautions[0].message
    plain = SlidingWindow(model=NETWORK, weights=own, window=(8, 8, 8))(volume, LABELS)
    assert torch.equal(plain.data, scores.data)
    assert not plain.cautions


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"not a checkpoint", "cannot be read"), (None, "no such weights file")],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "theirs.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        read_tensors(path)
    assert caught.value.code == "E_CHECKPOINT"


class Whole:
    """Something that is not a tensor, as files that hold whole programs have."""


@pytest.mark.parametrize("held", [{"a": Whole()}, [1, 2], {"a": 3}])
def test_only_tensors_are_unpacked(tmp_path: Path, held: object) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(held, path)
    with pytest.raises(ModelError, match=r"cannot be read|holds no state dict"):
        read_tensors(path)


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(theirs(), path)
    with pytest.raises(ModelError, match="shape"):
        load_weights(DynUNet(widths=(4, 6, 10))(1, 2), Checkpoint(path, "uctransnet"))
