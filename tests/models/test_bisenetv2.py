"""BiSeNetV2: aggregation by its formula, and checkpoints of the code it is repeated with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ModelError
from medseg.models.bisenetv2 import BiSeNetV2
from medseg.models.checkpoint import Checkpoint
from medseg.models.importers import read_checkpoint
from medseg.models.importers.bisenetv2 import read
from medseg.models.modules.bilateral_aggregation import BilateralAggregation

Dims = Literal[2, 3]
State: TypeAlias = dict[str, Tensor]
TINY: dict[str, Any] = {"width": 0.0625, "expansion": 3}
CONV: dict[int, Any] = {2: functional.conv2d, 3: functional.conv3d}
MEAN: dict[int, Any] = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


def varied(module: nn.Module) -> nn.Module:
    """Normalisations that do something, as after training."""
    torch.manual_seed(3)
    for key, tensor in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        tensor.uniform_(0.5, 1.5) if key.endswith("running_var") else tensor.normal_(0, 0.5)
    return module.eval()


def normed(state: State, name: str, features: Tensor) -> Tensor:
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(features, *parts)


def separable(state: State, name: str, features: Tensor) -> Tensor:
    """One filter for each channel, a normalisation, the channels mixed."""
    dims = features.ndim - 2
    weight = state[f"{name}.0.weight"]
    features = CONV[dims](features, weight, padding=1, groups=len(weight))
    return CONV[dims](normed(state, f"{name}.1", features), state[f"{name}.2.weight"])


@pytest.mark.parametrize("dims", [2, 3])
def test_an_aggregation_is_the_papers_formula(dims: Dims) -> None:
    """Either branch gated by the other, at an eighth and at a 32nd of the image's size."""
    module = varied(BilateralAggregation(dims, 4, ((2,) * dims, (2,) * dims)))
    state, convolved, mean = module.state_dict(), CONV[dims], MEAN[dims]
    detail = torch.randn(2, 4, *(8, 12, 8)[:dims])
    semantic = torch.randn(2, 4, *(2, 3, 2)[:dims])

    def enlarged(features: Tensor) -> Tensor:
        for axis in range(2, dims + 2):
            features = features.repeat_interleave(4, axis)
        return features

    told = convolved(detail, state["detail_coarse.0.weight"], stride=2, padding=1)
    detail_coarse = mean(normed(state, "detail_coarse.1", told), 3, 2, 1)
    told = convolved(semantic, state["semantic_fine.0.weight"], padding=1)
    gate = enlarged(normed(state, "semantic_fine.1", told)).sigmoid()
    fine = separable(state, "detail_fine", detail) * gate
    coarse = detail_coarse * separable(state, "semantic_coarse", semantic).sigmoid()
    told = convolved(fine + enlarged(coarse), state["merge.conv.weight"], padding=1)
    wanted = normed(state, "merge.norm", told).relu()
    with torch.no_grad():
        assert torch.allclose(module(detail, semantic), wanted, atol=1e-5)
    assert wanted.any()


# The names of github.com/CoinCheung/BiSeNet for what the own ones have in them.
PARTS = (
    (r"^detail\.stages\.(\d)\.(\d)\.norm", lambda m: f"detail.S{int(m[1]) + 1}.{m[2]}.bn"),
    (r"^detail\.stages\.(\d)", lambda m: f"detail.S{int(m[1]) + 1}"),
    (r"^semantic\.stem", "segment.S1S2"),
    (r"^semantic\.context\.before_conv", "segment.S5_5.bn"),
    (r"^semantic\.context\.context", "segment.S5_5.conv_gap"),
    (r"^semantic\.context\.last", "segment.S5_5.conv_last"),
    (r"^semantic\.stages\.0", "segment.S3"),
    (r"^semantic\.stages\.1", "segment.S4"),
    (r"^semantic\.stages\.2", "segment.S5_4"),
    (r"\.0\.widen", ".0.dwconv1"),
    (r"\.widen", ".dwconv"),
    (r"^(segment.*)\.spread", r"\1.dwconv2"),
    (r"\.narrow", ".conv2"),
    (r"\.first", ".conv1"),
    (r"(dwconv[12]?|conv2)\.conv\.", r"\1.0."),
    (r"(dwconv[12]?|conv2)\.norm\.", r"\1.1."),
    (r"shortcut\.0\.conv\.", "shortcut.0."),
    (r"shortcut\.0\.norm\.", "shortcut.1."),
    (r"shortcut\.1\.conv\.", "shortcut.2."),
    (r"shortcut\.1\.norm\.", "shortcut.3."),
    (r"^aggregation\.detail_fine", "bga.left1"),
    (r"^aggregation\.detail_coarse", "bga.left2"),
    (r"^aggregation\.semantic_fine", "bga.right1"),
    (r"^aggregation\.semantic_coarse", "bga.right2"),
    (r"^aggregation\.merge\.conv", "bga.conv.0"),
    (r"^aggregation\.merge\.norm", "bga.conv.1"),
    (r"^head\.0", "head.conv"),
    (r"^head\.2", "head.conv_out.1"),
    (r"^auxiliary\.([012])\.", lambda m: f"aux{int(m[1]) + 2}."),
    (r"^auxiliary\.3\.", "aux5_4."),
    (r"^(aux.*)\.spread", r"\1.conv_out.0.1"),
    (r"^(aux.*)\.classifier", r"\1.conv_out.1"),
    (r"\.norm\.", ".bn."),
)


def theirs(key: str) -> str:
    for pattern, name in PARTS:
        key = re.sub(pattern, name, key)  # type: ignore[call-overload]
    return key


@pytest.mark.parametrize(
    "options",
    [
        {"spatial_dims": 2},
        {"spatial_dims": 2, "auxiliary": False},
        {"spatial_dims": 3, "expansion": 1},
    ],
)
def test_a_network_under_their_names_comes_back_as_it_was(options: dict[str, Any]) -> None:
    network = BiSeNetV2(**{**TINY, **options})
    state = network(3, 5).state_dict()
    foreign = {f"module.{theirs(key)}": tensor for key, tensor in state.items()}
    assert len(foreign) == len(state)
    imported = read({**foreign, "module.stranger": torch.zeros(1)})
    assert imported.network == network
    assert (imported.in_channels, imported.out_channels) == (3, 5)
    assert imported.unused == ("stranger",)
    assert imported.state.keys() == state.keys()
    assert all(imported.state[key] is tensor for key, tensor in state.items())


def test_every_key_of_their_checkpoint_has_its_place(real_data: Path) -> None:
    path = real_data.parent / "reference" / "bisenetv2_eval_keys.json"
    if not path.is_file():
        pytest.skip(f"no list of keys: {path.name}")
    shapes = json.loads(path.read_text())
    state = {key: torch.zeros(shape, device="meta") for key, shape in shapes.items()}
    imported = read(state)
    assert imported.network == BiSeNetV2(spatial_dims=2, auxiliary=False)
    assert (imported.in_channels, imported.out_channels) == (3, 5)
    assert imported.unused == ()
    assert len(imported.state) == len(state)
    assert {theirs(key) for key in imported.state} == state.keys()


def test_a_checkpoint_names_its_format(tmp_path: Path) -> None:
    module, path = BiSeNetV2(spatial_dims=2, **TINY)(1, 2), tmp_path / "theirs.pth"
    torch.save({theirs(key): tensor for key, tensor in module.state_dict().items()}, path)
    assert read_checkpoint(Checkpoint(path, "bisenetv2")).out_channels == 2


@pytest.mark.parametrize(
    ("key", "tensor", "told"),
    [
        ("detail.S1.0.conv.weight", None, "detail.S1.0.conv.weight is missing"),
        ("detail.S1.0.conv.weight", torch.zeros(2), "4 or 5 dimensions are wanted"),
        ("head.conv_out.1.weight", None, "head.conv_out.1.weight is missing"),
        ("bga.left1.0.weight", torch.zeros(3, 1, 3, 3), "bga.left1.0.weight has shape"),
        ("segment.S5_5.bn.bias", None, "semantic.context.before_conv.bias is wanted"),
    ],
)
def test_tensors_of_another_network_are_refused_by_name(
    key: str, tensor: Tensor | None, told: str
) -> None:
    module = BiSeNetV2(spatial_dims=2, **TINY)(1, 2)
    state = {theirs(own): one for own, one in module.state_dict().items()}
    assert key in state
    left = {name: one for name, one in state.items() if name != key}
    with pytest.raises(ModelError, match="E_CHECKPOINT") as error:
        read(left if tensor is None else {**left, key: tensor})
    assert told in str(error.value)
