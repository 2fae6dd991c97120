"""UCTransNet and its two modules: laws, sizes, and numbers against loops written out."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from medseg.models.modules.cca import ChannelCrossAttention
from medseg.models.modules.cct import CCT, CCTForm, ChannelAttention
from medseg.models.nets.uctransnet import UCTransNetNet
from medseg.models.uctransnet import UCTransNet

Dims = Literal[2, 3]
SMALL: dict[str, Any] = {
    "widths": (4, 6, 8, 8),
    "image_size": 16,
    "attention_layers": 2,
    "attention_heads": 2,
    "expansion": 2,
}


def built(dims: Dims, **options: Any) -> UCTransNetNet:
    torch.manual_seed(0)
    module = UCTransNet(spatial_dims=dims, **{**SMALL, **options})(1, 3)
    assert isinstance(module, UCTransNetNet)
    return module


@pytest.mark.parametrize("dims", [2, 3])
def test_a_gate_without_weights_halves_the_skip(dims: Dims) -> None:
    """The logistic function of 0 is one half; what is below zero is cut after it."""
    gate = ChannelCrossAttention(dims, 3, 5)
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    skip, raised = torch.randn(2, 3, *(4,) * dims), torch.randn(2, 5, *(4,) * dims)
    assert torch.equal(gate(skip, raised), (skip / 2).clamp(min=0))


def test_a_gate_weighs_channels_by_both_means() -> None:
    torch.manual_seed(0)
    gate, skip, raised = (
        ChannelCrossAttention(2, 3, 3),
        torch.rand(1, 3, 4, 5),
        torch.rand(1, 3, 2, 2),
    )
    found = gate(skip, raised)
    for channel in range(3):
        score = gate.skip.bias[channel] + gate.gate.bias[channel]
        for other in range(3):
            score = score + gate.skip.weight[channel, other] * skip[0, other].mean()
            score = score + gate.gate.weight[channel, other] * raised[0, other].mean()
        weight = 1 / (1 + torch.exp(-score / 2))
        assert torch.allclose(found[0, channel], weight * skip[0, channel], atol=1e-6)


def said_by_loops(module: ChannelAttention, tokens: Tensor, total: Tensor, scale: int) -> Tensor:
    """One image, one scale, head by head, channel by channel."""
    (places, width), everything = tokens.shape, total.shape[1]
    heads = []
    for head in range(module.heads):
        query = tokens @ module.queries[scale].weight[head * width : (head + 1) * width].T
        span = slice(head * everything, (head + 1) * everything)
        key, value = total @ module.key.weight[span].T, total @ module.value.weight[span].T
        scores = torch.zeros(width, everything)
        for mine in range(width):
            for other in range(everything):
                dot = sum(query[n, mine] * key[n, other] for n in range(places))
                scores[mine, other] = dot / everything**0.5
        deviation = (scores.var(correction=0) + 1e-5).sqrt()
        scores = (scores - scores.mean()) / deviation
        weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
        heads.append(value @ weights.T)
    mean = torch.stack(heads).sum(0) / module.heads
    return mean @ module.outs[scale].weight.T


def test_channel_attention_is_a_loop_over_heads_and_channels() -> None:
    torch.manual_seed(0)
    form = CCTForm(channels=(2, 3), patches=((2,), (1,)), grid=(4,), heads=2, dropout=0.5)
    module = ChannelAttention(form).eval()
    with torch.no_grad():
        scales, total = [torch.randn(2, 4, 2), torch.randn(2, 4, 3)], torch.randn(2, 4, 5)
        found = module(scales, total)
        for scale in (0, 1):
            for image in (0, 1):
                wanted = said_by_loops(module, scales[scale][image], total[image], scale)
                assert torch.allclose(found[scale][image], wanted, atol=1e-5)


def fusion(dims: Dims, **options: Any) -> CCT:
    torch.manual_seed(0)
    form = CCTForm(
        channels=(3, 5),
        patches=((4,) * dims, (2,) * dims),
        grid=(4, 2, 3)[:dims],
        layers=2,
        heads=2,
        **options,
    )
    return CCT(dims, form).eval()


def skips(dims: Dims) -> list[Tensor]:
    sides = (4, 2, 3)[:dims]
    return [
        torch.randn(2, 3, *(4 * side for side in sides)),
        torch.randn(2, 5, *(2 * side for side in sides)),
    ]


@pytest.mark.parametrize("dims", [2, 3])
def test_fusion_that_says_nothing_is_its_input_and_what_is_rebuilt_of_its_tokens(
    dims: Dims,
) -> None:
    """The layers are the identity where what they add is zero."""
    module, features = fusion(dims), skips(dims)
    for layer in module.layers:
        for out in layer.attention.outs:
            nn.init.zeros_(out.weight)
        for ffn in layer.ffns:
            nn.init.zeros_(ffn[2].weight)
            nn.init.zeros_(ffn[2].bias)
    with torch.no_grad():
        found = module(features)
        for place, one in enumerate(features):
            tokens = module.embeddings[place].conv(one)
            normed = module.norms[place](tokens.movedim(1, -1)).movedim(-1, 1)
            for axis in range(2, one.ndim):
                patch = one.shape[axis] // tokens.shape[axis]
                normed = normed.repeat_interleave(patch, dim=axis)
            wanted = one + module.rebuilds[place](normed)
            assert torch.allclose(found[place], wanted, atol=1e-5)


def test_what_is_rebuilt_of_nothing_leaves_the_skips_alone() -> None:
    module, features = fusion(2, norm="none"), skips(2)
    for rebuild in module.rebuilds:
        nn.init.zeros_(rebuild.conv.weight)
        nn.init.zeros_(rebuild.conv.bias)
    assert all(torch.equal(a, b) for a, b in zip(module(features), features, strict=True))


def test_every_scale_sees_the_channels_of_every_other() -> None:
    module, features = fusion(2), skips(2)
    with torch.no_grad():
        before = module(features)
        after = module([features[0], features[1] + torch.randn_like(features[1])])
    assert not torch.allclose(before[0], after[0], atol=1e-4)


def test_positions_are_interpolated_by_axis() -> None:
    """A table that differs along the first axis only does so at any other size."""
    module = fusion(2).embeddings[1]
    with torch.no_grad():
        module.positions.copy_(torch.linspace(0, 1, 4).reshape(1, 1, 4, 1).expand(1, 5, 4, 2))
        module.conv.weight.zero_()
        module.conv.bias.zero_()
        tokens, grid = module(torch.zeros(1, 5, 16, 6))
    assert grid == (8, 3)
    places = tokens.reshape(8, 3, 5)
    # Centres of eight voxels among those of four, and none beyond the outermost.
    wanted = torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]) / 3
    assert torch.allclose(places, wanted.reshape(8, 1, 1).expand(8, 3, 5), atol=1e-6)


def closed_form(options: UCTransNet, channels: int, labels: int) -> int:
    """Counted by hand: convolutions, gates, embeddings, layers, what is rebuilt."""
    dims, parts = options.spatial_dims, options.parts
    scales = parts.widths[:4]
    base, total = scales[0], sum(scales)
    places = 1
    for side in parts.grid:
        places *= side

    def block(inputs: int, outputs: int) -> int:
        return 3**dims * inputs * outputs + 3 * outputs

    convs = block(channels, base) + base * labels + labels
    for a, o in ((1, 2), (2, 4), (4, 8), (8, 8), (16, 4), (8, 2), (4, 1), (2, 1)):
        convs += block(a * base, o * base) + block(o * base, o * base)
    gates = sum(2 * (m * m + m) for m in scales)
    embeddings = places * total
    for width, patch in zip(scales, parts.patches, strict=True):
        volume = 1
        for side in patch:
            volume *= side
        embeddings += width * width * volume + width
    squares = sum(width * width for width in scales)
    layer = options.attention_heads * (squares + 2 * total**2) + squares + 2 * (3 * total)
    layer += sum(2 * options.expansion * w * w + options.expansion * w + w for w in scales)
    fused = options.attention_layers * layer + 2 * total + squares + 3 * total
    return convs + gates + embeddings + fused


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"base": 16, "patch": 1},
        {"base": 8, "attention_layers": 2, "attention_heads": 3, "expansion": 2, "image_size": 64},
        {"base": 8, "strides": (2, 2, 1, 2)},
    ],
)
def test_parameters_are_the_closed_form(dims: Dims, options: dict[str, Any]) -> None:
    rest = {key: value for key, value in options.items() if key != "base"}
    if "base" in options:
        rest["widths"] = tuple(options["base"] * m for m in (1, 2, 4, 8, 8))
    network = UCTransNet(spatial_dims=dims, **rest)
    for channels, labels in ((1, 2), (3, 9)):
        assert network.parameters(channels, labels) == closed_form(network, channels, labels)


def test_in_3d_there_are_about_30_million_parameters_and_24_with_finer_tokens() -> None:
    assert UCTransNet().parameters(1, 2) == 30_168_322
    assert UCTransNet(patch=1).parameters(1, 2) == 24_012_802


@pytest.mark.parametrize(
    ("options", "patches", "grid"),
    [
        ({"spatial_dims": 2}, [(16, 16), (8, 8), (4, 4), (2, 2)], (14, 14)),
        ({}, [(16,) * 3, (8,) * 3, (4,) * 3, (2,) * 3], (6, 6, 6)),
        (
            {"image_size": (16, 96, 33)},
            [(8, 16, 16), (4, 8, 8), (2, 4, 4), (1, 2, 2)],
            (2, 6, 3),
        ),
        (
            {"strides": ((1, 2, 2), (1, 2, 2), 2, 2), "image_size": (16, 160, 160)},
            [(4, 16, 16), (4, 8, 8), (4, 4, 4), (2, 2, 2)],
            (4, 10, 10),
        ),
    ],
)
def test_patches_mirror_the_strides_and_leave_two_tokens_along_each_axis(
    options: dict[str, Any], patches: list[tuple[int, ...]], grid: tuple[int, ...]
) -> None:
    parts = UCTransNet(**options).parts
    assert list(parts.patches) == patches
    assert parts.grid == grid


@pytest.mark.parametrize("strides", [((1, 2, 2), (2, 1, 2), 2), ((3, 2, 1), 1, (2, 2, 2))])
@pytest.mark.parametrize("patch", [1, (3, 1, 2), None])
def test_any_strides_and_patches_take_any_size(strides: Any, patch: Any) -> None:
    module = built(3, strides=strides, patch=patch)
    for space in ((1, 1, 1), (2, 9, 5), (13, 6, 17)):
        image = torch.randn(1, 1, *space)
        with torch.no_grad():
            assert module.train()(image).shape == (1, 3, *space)
            assert module.eval()(image).isfinite().all()


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("dims", [2, 3])
def test_an_odd_size_is_the_padded_one_cropped(dims: Dims, norm: str) -> None:
    module, space = built(dims, norm=norm).eval(), (13, 9, 6)[:dims]
    image = torch.randn(1, 1, *space)
    missing = [amount for side in reversed(space) for amount in (0, -side % 8)]
    with torch.no_grad():
        whole = module(nn.functional.pad(image, missing))
        assert torch.equal(module(image), whole[(..., *(slice(0, side) for side in space))])


def test_the_stem_is_one_convolution_and_every_other_level_two() -> None:
    with torch.device("meta"):
        module = UCTransNet(spatial_dims=2)(3, 1)
    assert isinstance(module, UCTransNetNet)
    assert [len(stage) for stage in module.encoder.stages] == [1, 2, 2, 2, 2]
    assert module.encoder.channels == (64, 128, 256, 512, 512)
    assert [up.convs[0].conv.weight.shape[:2] for up in module.ups] == [
        (256, 1024),
        (128, 512),
        (64, 256),
        (64, 128),
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (8,)}, "widths needs two levels"),
        ({"strides": (2, 2)}, "strides has one entry between two levels: 4, not 2"),
        ({"strides": (2, 2, 2, (2, 2))}, "strides wants a number above 0 or 3 of them"),
        ({"patch": 0}, "patch wants a number above 0"),
        ({"image_size": (8, 8)}, "image_size wants a number above 0 or 3 of them"),
        ({"attention_heads": 0}, "attention_heads is at least 1"),
        ({"dropout": -0.1}, "dropout lies in"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        UCTransNet(**options)
