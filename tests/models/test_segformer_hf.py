"""SegFormers of transformers read into medseg's own, by both of their names for everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.models.importers.segformer_hf import read
from medseg.models.segformer import SegFormer

State = dict[str, Tensor]

NAMES = {
    "encoder.stages.": "segformer.stages.",
    ".embed.conv.": ".patch_embeddings.proj.",
    ".embed.norm.": ".patch_embeddings.layer_norm.",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".attention.query.": ".attention.q_proj.",
    ".attention.key.": ".attention.k_proj.",
    ".attention.value.": ".attention.v_proj.",
    ".attention.out.": ".attention.o_proj.",
    ".attention.reduce.conv.": ".attention.sequence_reduction.sequence_reduction.",
    ".attention.reduce.norm.": ".attention.sequence_reduction.layer_norm.",
    ".ffn.expand.": ".mlp.fc1.",
    ".ffn.depthwise.conv.": ".mlp.dwconv.dwconv.",
    ".ffn.project.": ".mlp.fc2.",
    "head.fuse.conv.": "decode_head.linear_fuse.",
    "head.fuse.norm.": "decode_head.batch_norm.",
    "head.classifier.": "decode_head.classifier.",
}
BEFORE_FIVE = {
    ".layernorm_before.": ".layer_norm_1.",
    ".layernorm_after.": ".layer_norm_2.",
    ".attention.q_proj.": ".attention.self.query.",
    ".attention.k_proj.": ".attention.self.key.",
    ".attention.v_proj.": ".attention.self.value.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".attention.sequence_reduction.sequence_reduction.": ".attention.self.sr.",
    ".attention.sequence_reduction.layer_norm.": ".attention.self.layer_norm.",
    ".mlp.fc1.": ".mlp.dense1.",
    ".mlp.fc2.": ".mlp.dense2.",
    "decode_head.linear_projections.": "decode_head.linear_c.",
}


def replaced(key: str, names: dict[str, str]) -> str:
    for own, foreign in names.items():
        key = key.replace(own, foreign)
    return key


def exported(key: str) -> str:
    """A key of medseg by the name that transformers 5 have for it."""
    parts = key.split(".")
    if key.startswith("head.projections."):
        return f"decode_head.linear_projections.{parts[2]}.proj.{parts[4]}"
    if parts[:2] == ["encoder", "stages"] and parts[3] == "norm":
        return f"segformer.stages.{parts[2]}.layer_norm.{parts[4]}"
    return replaced(key, NAMES)


def aged(key: str) -> str:
    """A key of transformers 5 by its name in those before, which the hub's files still have."""
    parts = key.split(".")
    if parts[1] == "stages":
        stage, kind, rest = parts[2], parts[3], parts[4:]
        kind = "block" if kind == "blocks" else kind
        key = ".".join(["segformer", "encoder", kind, stage, *rest])
    return replaced(key, BEFORE_FIVE)


def stirred(options: SegFormer, channels: int, labels: int) -> torch.nn.Module:
    torch.manual_seed(0)
    module = options(channels, labels).eval()
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return module


@pytest.mark.parametrize("before_five", [False, True])
def test_a_network_renamed_and_read_gives_the_very_same_logits(before_five: bool) -> None:
    module = stirred(SegFormer(spatial_dims=2), 4, 7)
    foreign = {exported(key): value for key, value in module.state_dict().items()}
    if before_five:
        foreign = {aged(key): value for key, value in foreign.items()}
        assert "segformer.encoder.block.0.1.attention.self.sr.weight" in foreign
        assert "segformer.encoder.patch_embeddings.3.proj.weight" in foreign
        assert "segformer.encoder.layer_norm.2.bias" in foreign
    imported = read(foreign)
    assert (imported.in_channels, imported.out_channels) == (4, 7)
    assert imported.unused == ()
    again = imported.network(4, 7).eval()
    again.load_state_dict(dict(imported.state))
    image = torch.randn(1, 4, 33, 64)
    with torch.no_grad():
        assert torch.equal(again(image), module(image))


def empty(size: str) -> State:
    with torch.device("meta"):
        module = SegFormer(spatial_dims=2, size=size)(3, 5)  # type: ignore[arg-type]
    return {exported(key): value for key, value in module.state_dict().items()}


@pytest.mark.parametrize("size", ["b0", "b1", "b2", "b3", "b4", "b5"])
def test_the_size_is_read_off_the_shapes(size: str) -> None:
    imported = read(empty(size))
    assert isinstance(imported.network, SegFormer)
    assert imported.network.size == size
    assert imported.out_channels == 5


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (8, 16, 40, 64)},
        {"depths": (1, 2, 2, 2)},
        {"size": "b2", "reductions": (4, 2, 1, 1)},
        {"strides": (2, 2, 2, 4)},
        {"expansions": (8, 8, 4, 2)},
        {"size": "b1", "head_width": 12},
        {
            "widths": (6, 9, 12, 20),
            "depths": (1, 2, 1, 3),
            "heads": (1, 1, 4, 5),
            "reductions": (2, 3, 1, 1),
            "expansions": (1, 2, 3, 4),
            "head_width": 5,
        },
    ],
)
def test_a_checkpoint_of_any_size_loads(options: dict[str, Any]) -> None:
    """Heads are in no shape: those of the paper, or the next fewer that share a width."""
    network = SegFormer(spatial_dims=2, **options)
    with torch.device("meta"):
        state = network(2, 3).state_dict()
    imported = read({f"module.{exported(key)}": value for key, value in state.items()})
    assert isinstance(imported.network, SegFormer)
    assert imported.network.parts == network.parts
    assert imported.network.strides == network.strides
    assert (imported.in_channels, imported.out_channels, imported.unused) == (2, 3, ())
    assert imported.state.keys() == state.keys()


def test_the_reference_keys_all_find_a_place(real_data: Path) -> None:
    place = real_data.parent / "reference" / "segformer_hf_b0_keys.json"
    if not place.is_file():
        pytest.skip("no list of reference keys")
    shapes = json.loads(place.read_text())
    imported = read({key: torch.zeros(shape) for key, shape in shapes.items()})
    assert imported.unused == ()
    assert len(imported.state) == len(shapes)
    assert (imported.in_channels, imported.out_channels) == (3, 5)
    imported.network(3, 5).load_state_dict(dict(imported.state))


def test_keys_without_a_place_are_listed_by_their_own_names() -> None:
    assert read({**empty("b0"), "classifier.weight": torch.zeros(1)}).unused == (
        "classifier.weight",
    )


def without(state: State, part: str) -> State:
    return {key: value for key, value in state.items() if part not in key}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({}, "no four patch embeddings"),
        (without(empty("b0"), "decode_head"), "no decode_head"),
        (without(empty("b0"), "decode_head.classifier"), "head.classifier.weight is missing"),
        (
            without(empty("b0"), "stages.0.blocks.1.mlp.fc2"),
            "encoder.stages.0.blocks.1.ffn.project.weight is wanted, and nothing is there",
        ),
        (
            {**empty("b0"), "segformer.stages.0.blocks.1.mlp.fc1.weight": torch.zeros(3, 2)},
            r"segformer.stages.0.blocks.1.mlp.fc1.weight has shape \(3, 2\) and \(128, 32\) is",
        ),
        (
            {**empty("b0"), "segformer.stages.3.patch_embeddings.proj.weight": torch.zeros(9)},
            "no four patch embeddings",
        ),
        (
            {**empty("b0"), "segformer.stages.3.patch_embeddings.proj.bias": torch.zeros(9)},
            r"proj.bias has shape \(9,\)",
        ),
    ],
)
def test_what_is_no_segformer_is_told_by_what_it_lacks(state: State, told: str) -> None:
    with pytest.raises(ModelError, match=f"E_CHECKPOINT.*{told}"):
        read(state)
