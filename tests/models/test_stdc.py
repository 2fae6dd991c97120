"""STDC: dense blocks, gates by the whole image, edges as guidance; its authors' checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ModelError
from medseg.models.checkpoint import Checkpoint
from medseg.models.encoders.stdc import STDCEncoder
from medseg.models.heads import DetailHead, Head
from medseg.models.importers import read_checkpoint
from medseg.models.importers.stdc import read
from medseg.models.modules.stdc import (
    AttentionRefinement,
    ConcatBlock,
    ContextPath,
    FeatureFusion,
    OutputHead,
)
from medseg.models.stdc import BLOCKS, STDC

Dims = Literal[2, 3]
State: TypeAlias = dict[str, Tensor]
SPACES = {2: (9, 12), 3: (5, 8, 6)}
TINY: dict[str, Any] = {"width": 0.06, "context": 4}


def varied(module: nn.Module) -> nn.Module:
    """Normalisations that do something, as after training."""
    torch.manual_seed(3)
    for key, tensor in module.state_dict().items():
        if key.endswith(("norm.weight", "running_var")):
            tensor.uniform_(0.5, 1.5)
        elif key.endswith(("norm.bias", "running_mean")):
            tensor.normal_(0, 0.3)
    return module.eval()


def silent(module: nn.Module) -> None:
    for weight in module.parameters():
        nn.init.zeros_(weight)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_output_of_a_block_is_what_each_of_its_convolutions_says(dims: Dims) -> None:
    block = ConcatBlock(dims, 6, 16).eval()
    features = torch.randn(2, 6, *SPACES[dims])
    out = block(features)
    assert out.shape == (2, 16, *SPACES[dims])
    for one, part in zip(block.convs, out.split([8, 4, 2, 2], 1), strict=True):
        features = one(features)
        assert torch.equal(part, features)


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (3, 1, 2)])
def test_a_block_with_a_stride_halves_the_axes_that_it_is_told_to(stride: tuple[int, ...]) -> None:
    out = ConcatBlock(3, 6, 16, stride).eval()(torch.randn(1, 6, 6, 4, 8))
    wanted = [side // step for side, step in zip((6, 4, 8), stride, strict=True)]
    assert out.shape == (1, 16, *wanted)


def test_a_block_with_a_stride_passes_its_first_half_on_as_means_of_three() -> None:
    block = varied(ConcatBlock(2, 6, 16, (2, 2)))
    features = torch.randn(2, 6, 8, 8)
    first = block.get_submodule("convs.0")(features)
    assert torch.allclose(block(features)[:, :8], functional.avg_pool2d(first, 3, 2, 1), atol=1e-6)


def test_the_later_convolutions_of_a_block_see_ever_further() -> None:
    """1, 3, 5 and 7 voxels along an axis."""
    block = ConcatBlock(2, 1, 8).eval()
    for one in block.convs:
        nn.init.ones_(one.get_parameter("conv.weight"))
    image = torch.zeros(1, 1, 15, 15)
    image[0, 0, 7, 7] = 1.0
    reach = [int((part[0, 0, 7] != 0).sum()) for part in block(image).split([4, 2, 1, 1], 1)]
    assert reach == [1, 3, 5, 7]


@pytest.mark.parametrize("dims", [2, 3])
def test_an_attention_without_weights_lets_half_of_everything_through(dims: Dims) -> None:
    module = AttentionRefinement(dims, 6, 8).eval()
    silent(module.attention)
    features = torch.randn(2, 6, *SPACES[dims])
    assert torch.allclose(module(features), module.conv(features) / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_fusion_whose_gate_has_no_weights_adds_half_of_everything(dims: Dims) -> None:
    module = FeatureFusion(dims, 10, 8).eval()
    silent(module.gate)
    detail, context = (torch.randn(2, width, *SPACES[dims]) for width in (6, 4))
    mixed = module.mix(torch.cat([detail, context], 1))
    assert torch.allclose(module(detail, context), 1.5 * mixed)


def test_a_gate_raises_channels_and_moves_nothing() -> None:
    """One number for each channel, between once and twice what was there."""
    module = FeatureFusion(2, 10, 8).eval()
    detail, context = torch.randn(2, 6, 5, 7), torch.randn(2, 4, 5, 7)
    mixed = module.mix(torch.cat([detail, context], 1))
    out = module(detail, context)
    factors = (out.sum((2, 3)) / mixed.sum((2, 3)))[..., None, None]
    assert ((factors > 1) & (factors < 2)).all()
    assert torch.allclose(out, mixed * factors, atol=1e-5)


def test_the_maps_of_the_context_path_are_one_grid_finer_than_their_features() -> None:
    module = ContextPath(3, (6, 8), 4).eval()
    features = [torch.randn(1, 6, 4, 6, 2), torch.randn(1, 8, 4, 3, 1)]
    maps = module(features, (8, 12, 4))
    assert [tuple(one.shape) for one in maps] == [(1, 4, 8, 12, 4), (1, 4, 4, 6, 2)]


def test_where_nothing_is_refined_the_context_is_the_same_everywhere() -> None:
    module = ContextPath(2, (6, 8), 4).eval()
    silent(module.refine)
    maps = module([torch.randn(1, 6, 8, 8), torch.randn(1, 8, 4, 4)], (16, 16))
    inner = maps[1][..., 1:-1, 1:-1]
    assert torch.allclose(inner, inner[..., :1, :1].expand_as(inner), atol=1e-6)
    assert inner.any()


@pytest.mark.parametrize("size", BLOCKS)
def test_the_encoder_has_the_papers_features(size: str) -> None:
    with torch.device("meta"):
        encoder = STDCEncoder(2, 3, BLOCKS[size])
        shapes = [tuple(one.shape) for one in encoder(torch.zeros(1, 3, 64, 96))]
    assert encoder.channels == (32, 64, 256, 512, 1024)
    assert encoder.strides == ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))
    wanted = [
        (1, width, 64 // s, 96 // s)
        for width, (s, _) in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert shapes == wanted
    found = [len(list(stage.children())) for stage in list(encoder.stages)[2:]]
    assert found == list(BLOCKS[size])


@pytest.mark.parametrize(
    "strides",
    [
        ((1, 2, 2), (2, 2, 2), (1, 2, 2), (2, 2, 2), (1, 1, 2)),
        ((2, 2, 2), (1, 1, 1), (2, 1, 1), (1, 2, 3), (2, 2, 2)),
    ],
)
def test_the_strides_of_the_encoder_are_its_own_along_each_axis(
    strides: tuple[tuple[int, ...], ...],
) -> None:
    encoder = STDCEncoder(3, 2, (1, 1, 1), 4, strides).eval()
    side = encoder.strides[-1]
    features = encoder(torch.randn(1, 2, *(2 * one for one in side)))
    for one, width, stride in zip(features, encoder.channels, encoder.strides, strict=True):
        wanted = [2 * a // b for a, b in zip(side, stride, strict=True)]
        assert one.shape == (1, width, *wanted)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_gives_the_logits_two_maps_of_the_context_and_the_edges(dims: Dims) -> None:
    module = STDC(spatial_dims=dims, **TINY)(2, 3).train()
    heads = module(torch.randn(2, 2, *SPACES[dims]))
    assert [type(head) for head in heads] == [Head, Head, Head, DetailHead]
    assert [head.weight for head in heads] == [1.0] * 4
    shapes = [tuple(head.logits.shape) for head in heads]
    assert shapes == [(2, 3, *SPACES[dims])] * 3 + [(2, 1, *SPACES[dims])]


@pytest.mark.parametrize(
    ("auxiliary", "detail", "kinds"),
    [
        (True, False, [Head, Head, Head]),
        (False, True, [Head, DetailHead]),
        (False, False, []),
    ],
)
def test_only_the_heads_that_are_asked_for_are_built(
    auxiliary: bool, detail: bool, kinds: list[type]
) -> None:
    options = STDC(spatial_dims=2, auxiliary=auxiliary, detail=detail, **TINY)
    module = options(2, 3).train()
    said = module(torch.randn(2, 2, 9, 12))
    assert ([] if isinstance(said, Tensor) else [type(head) for head in said]) == kinds
    assert any(key.startswith("auxiliary.") for key in module.state_dict()) is auxiliary
    assert any(key.startswith("detail.") for key in module.state_dict()) is detail
    assert isinstance(module.eval()(torch.randn(2, 2, 9, 12)), Tensor)


@pytest.mark.parametrize("kind", ["batch", "instance", "group"])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_normalisation_trains_on_one_small_image(dims: Dims, kind: Any) -> None:
    module = STDC(spatial_dims=dims, norm=kind, **TINY)(1, 2).train()
    heads = module(torch.randn(1, 1, *(3,) * dims))
    sum(head.logits.square().mean() for head in heads).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_flat_strides_keep_the_slices_apart_to_the_last_feature() -> None:
    """Thick slices need no padding along their axis."""
    flat = ((1, 2, 2),) * 5
    module = STDC(spatial_dims=3, strides=flat, **TINY)(1, 2).eval()
    assert module.multiples == (1, 32, 32)
    assert module(torch.randn(1, 1, 3, 40, 33)).shape == (1, 2, 3, 40, 33)


def test_what_an_output_starts_from_is_no_larger_than_what_it_reads() -> None:
    """Drawn by what reaches each number: its deviation is that of the features."""
    torch.manual_seed(0)
    drawn = STDC(spatial_dims=2, auxiliary=False)(1, 3).detail
    assert isinstance(drawn, OutputHead)
    weight = drawn.classifier.get_parameter("weight")
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": "stdc3"}, "size is one of stdc1, stdc2, not stdc3"),
        ({"width": 0.0}, "width scales"),
        ({"context": 0}, "context is at least 1, not 0"),
        ({"strides": (2, 2, 2)}, "strides wants 5 entries, not 3"),
        ({"strides": (2, 2, 2, 2, (2, 2))}, "strides are a number above 0 or 3"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        STDC(**options)


# The authors' names for what the own ones begin with.
THEIRS = {
    "context.whole.": "cp.conv_avg.",
    "context.refine.0.": "cp.arm16.",
    "context.refine.1.": "cp.arm32.",
    "context.spread.0.": "cp.conv_head16.",
    "context.spread.1.": "cp.conv_head32.",
    "fusion.mix.": "ffm.convblk.",
    "fusion.gate.0.": "ffm.conv1.",
    "fusion.gate.2.": "ffm.conv2.",
    "head.": "conv_out.",
    "auxiliary.0.": "conv_out16.",
    "auxiliary.1.": "conv_out32.",
    "detail.": "conv_out_sp8.",
}


def theirs(state: Mapping[str, Tensor], blocks: tuple[int, ...]) -> State:
    """The tensors under the authors' names, the encoder's twice as in their files."""
    found: State = {}
    for key, tensor in state.items():
        if stage := re.match(r"encoder\.stages\.([01])\.(.*)", key):
            number, rest = int(stage[1]), stage[2]
        elif block := re.match(r"encoder\.stages\.(\d)\.(\d)\.(.*)", key):
            number = 2 + sum(blocks[: int(block[1]) - 2]) + int(block[2])
            rest = block[3].replace("convs.", "conv_list.")
            rest = rest.replace("coarser.conv.", "avd_layer.0.")
            rest = rest.replace("coarser.norm.", "avd_layer.1.")
        else:
            start = next(one for one in THEIRS if key.startswith(one))
            rest = key[len(start) :].replace("attention.conv.", "conv_atten.")
            rest = rest.replace("attention.norm.", "bn_atten.").replace("classifier.", "conv_out.")
            found[THEIRS[start] + rest.replace("norm.", "bn.")] = tensor
            continue
        rest = rest.replace("norm.", "bn.")
        found[f"cp.backbone.features.{number}.{rest}"] = tensor
        found[f"cp.backbone.x8.0.{number}.{rest}"] = tensor
    return found


def normed(state: State, name: str, features: Tensor) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return functional.batch_norm(features, mean, var, weight, bias)


def layer(state: State, name: str, features: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.conv.weight"]
    convolved = functional.conv2d(features, weight, None, stride, weight.shape[-1] // 2)
    return normed(state, f"{name}.bn", convolved).relu()


def block(state: State, name: str, features: Tensor) -> Tensor:
    first = after = layer(state, f"{name}.conv_list.0", features)
    if (key := f"{name}.avd_layer.0.weight") in state:
        after = functional.conv2d(first, state[key], None, 2, 1, 1, first.shape[1])
        after = normed(state, f"{name}.avd_layer.1", after)
        first = functional.avg_pool2d(first, 3, 2, 1)
    said = [first]
    for place in (1, 2, 3):
        after = layer(state, f"{name}.conv_list.{place}", after)
        said.append(after)
    return torch.cat(said, 1)


def refined(state: State, name: str, features: Tensor) -> Tensor:
    features = layer(state, f"{name}.conv", features)
    gate = functional.conv2d(features.mean((2, 3), True), state[f"{name}.conv_atten.weight"])
    return features * normed(state, f"{name}.bn_atten", gate).sigmoid()


def output(state: State, name: str, features: Tensor, image: Tensor) -> Tensor:
    weight = state[f"{name}.conv_out.weight"]
    logits = functional.conv2d(layer(state, f"{name}.conv", features), weight)
    size = tuple(image.shape[2:])
    return functional.interpolate(logits, size, mode="bilinear", align_corners=True)


def authors_say(state: State, image: Tensor, blocks: tuple[int, ...]) -> list[Tensor]:
    """The logits, those of the two maps, and those of the edges; sides of multiples of 32."""
    features = image
    for number in (0, 1):
        features = layer(state, f"cp.backbone.features.{number}", features, 2)
    stages, number = [], 2
    for count in blocks:
        for _ in range(count):
            features = block(state, f"cp.backbone.features.{number}", features)
            number += 1
        stages.append(features)
    fine, middle, coarse = stages
    mean = layer(state, "cp.conv_avg", coarse.mean((2, 3), True))
    up = functional.interpolate(refined(state, "cp.arm32", coarse) + mean, scale_factor=2.0)
    map16 = layer(state, "cp.conv_head32", up)
    up = functional.interpolate(refined(state, "cp.arm16", middle) + map16, scale_factor=2.0)
    map8 = layer(state, "cp.conv_head16", up)
    fused = layer(state, "ffm.convblk", torch.cat([fine, map8], 1))
    gate = functional.conv2d(fused.mean((2, 3), True), state["ffm.conv1.weight"]).relu()
    fused = fused * functional.conv2d(gate, state["ffm.conv2.weight"]).sigmoid() + fused
    pairs = {"conv_out": fused, "conv_out16": map8, "conv_out32": map16, "conv_out_sp8": fine}
    return [output(state, name, one, image) for name, one in pairs.items()]


@pytest.mark.parametrize("size", BLOCKS)
def test_the_numbers_are_those_of_the_authors_network(size: Literal["stdc1", "stdc2"]) -> None:
    module = varied(STDC(spatial_dims=2, size=size, **TINY)(3, 5))
    state, image = theirs(module.state_dict(), BLOCKS[size]), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        wanted = authors_say(state, image, BLOCKS[size])
        assert torch.allclose(module(image), wanted[0], atol=1e-5)
        module.training = True  # The heads of training with the normalisation of evaluation.
        for head, one in zip(module(image), wanted, strict=True):
            assert torch.allclose(head.logits, one, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"spatial_dims": 2},
        {"spatial_dims": 2, "size": "stdc2", "auxiliary": False},
        {"spatial_dims": 3, "detail": False},
    ],
)
def test_a_network_under_the_authors_names_comes_back_as_it_was(options: dict[str, Any]) -> None:
    network = STDC(width=0.0625, context=6, **options)
    state = network(3, 5).state_dict()
    foreign = theirs(state, BLOCKS[network.size])
    imported = read({f"module.{key}": tensor for key, tensor in foreign.items()})
    assert imported.network == network
    assert (imported.in_channels, imported.out_channels) == (3, 5)
    assert imported.state.keys() == state.keys()
    assert all(imported.state[key] is foreign_of for key, foreign_of in state.items())
    assert set(imported.unused) == {key for key in foreign if key.startswith("cp.backbone.x8.")}


def test_a_checkpoint_names_its_format(tmp_path: Path) -> None:
    module = STDC(spatial_dims=2, **TINY)(1, 2)
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": theirs(module.state_dict(), (2, 2, 2))}, path)
    assert read_checkpoint(Checkpoint(path, "stdc")).out_channels == 2


def test_every_key_of_the_authors_checkpoint_has_its_place(real_data: Path) -> None:
    path = real_data.parent / "reference" / "stdc1_seg_keys.json"
    if not path.is_file():
        pytest.skip(f"no list of keys: {path.name}")
    shapes = json.loads(path.read_text())
    state = {key: torch.zeros(shape, device="meta") for key, shape in shapes.items()}
    imported = read(state)
    assert imported.network == STDC(spatial_dims=2)
    assert (imported.in_channels, imported.out_channels) == (3, 5)
    other = re.compile(r"cp\.backbone\.(x\d+|conv_last|fc|bn|linear)\.|conv_out_sp(2|4|16)\.")
    assert set(imported.unused) == {key for key in state if other.match(key)}
    assert len(imported.state) + len(imported.unused) == len(state)


FIRST, BRANCH = "cp.backbone.features.0.conv.weight", "cp.backbone.features.4.avd_layer.0.weight"
THEIR_STATE = theirs(STDC(spatial_dims=2, **TINY)(1, 2).state_dict(), (2, 2, 2))
CHANGED: list[tuple[State, str]] = [
    ({FIRST: torch.zeros(2)}, f"{FIRST} has shape (2,); 4 or 5 dimensions are wanted"),
    ({FIRST: torch.zeros(0, 1, 3, 3)}, "none empty"),
    ({BRANCH: torch.zeros(16, 1, 5, 5)}, f"{BRANCH} has shape (16, 1, 5, 5) and (16, 1, 3, 3)"),
    (
        {"cp.arm32.conv.conv.weight": torch.zeros(5, 64, 3, 3)},
        "cp.arm32.conv.conv.weight has shape (5, 64, 3, 3) and (4, 64, 3, 3) is wanted",
    ),
    (
        {"ffm.conv1.weight": torch.zeros(3, 16, 1, 1)},
        "ffm.conv1.weight has shape (3, 16, 1, 1) and (4, 16, 1, 1) is wanted",
    ),
    (
        {"conv_out.conv_out.weight": torch.zeros(7, 16, 1, 1)},
        "conv_out16.conv_out.weight has shape (2, 4, 1, 1) and (7, 4, 1, 1) is wanted",
    ),
]


@pytest.mark.parametrize(("change", "told"), CHANGED)
def test_a_tensor_of_another_shape_is_refused_by_name(change: State, told: str) -> None:
    with pytest.raises(ModelError, match="E_CHECKPOINT") as error:
        read(THEIR_STATE | change)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (".", f"{FIRST} is missing"),
        (r"cp\.arm16\.conv\.conv", "cp.arm16.conv.conv.weight is missing"),
        (r"conv_out\.conv_out", "conv_out.conv_out.weight is missing"),
        (r"ffm\.conv2", "fusion.gate.2.weight is wanted, and nothing is there for it"),
        (r"cp\.backbone\.features\.7\.", "stages of (2, 2, 1) blocks; (2, 2, 2) or (4, 5, 3) are"),
        (r".*avd_layer", "stages of () blocks"),
    ],
)
def test_what_is_missing_is_named(pattern: str, told: str) -> None:
    with pytest.raises(ModelError, match="E_CHECKPOINT") as error:
        read({key: one for key, one in THEIR_STATE.items() if not re.match(pattern, key)})
    assert told in str(error.value)
