"""Laws of the modules that let a coarse map see far: ASPP, pyramid pooling, PSA, GCN."""

from __future__ import annotations

from itertools import product
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from medseg.models.modules.aspp import (
    ASPP,
    Atrous,
    Separable,
    SummedASPP,
    clamped_rate,
    dilated,
)
from medseg.models.modules.gcn import BoundaryRefinement, GlobalConvolution
from medseg.models.modules.ppm import PyramidPooling
from medseg.models.modules.psa import PointwiseSpatialAttention, gathered

SPACES = {2: (9, 12), 3: (7, 9, 8)}
CONVS = {2: functional.conv2d, 3: functional.conv3d}


@pytest.mark.parametrize("dims", [2, 3])
def test_an_aspp_of_rate_1_and_one_branch_is_a_convolution(dims: int) -> None:
    pyramid, image = SummedASPP(dims, 3, 2, rates=(1,)), torch.randn(2, 3, *SPACES[dims])
    (branch,) = pyramid.branches
    plain = CONVS[dims](image, branch.weight, branch.bias, padding=1)
    assert torch.equal(pyramid(image), plain)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_first_aspp_is_the_sum_of_its_dilated_convolutions(dims: int) -> None:
    pyramid, image = SummedASPP(dims, 3, 2, rates=(1, 2, 3)), torch.randn(2, 3, *SPACES[dims])
    wanted = sum(
        CONVS[dims](image, one.weight, one.bias, padding=rate, dilation=rate)
        for one, rate in zip(pyramid.branches, (1, 2, 3), strict=True)
    )
    assert torch.allclose(pyramid(image), wanted, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_rate_as_long_as_the_features_is_clamped_along_that_axis_alone(dims: int) -> None:
    layer = dilated(dims, 3, 2, 4)
    image = torch.randn(1, 3, 5, *SPACES[dims][1:])
    rate = (2, *(min(4, (side - 1) // 2) for side in SPACES[dims][1:]))
    wanted = CONVS[dims](image, layer.weight, padding=rate, dilation=rate)
    assert torch.equal(layer(image), wanted)


def test_an_unclamped_rate_beyond_the_features_leaves_the_middle_tap() -> None:
    layer, image = dilated(2, 3, 2, 12, clamp=False), torch.randn(1, 3, 8, 8)
    wanted = functional.conv2d(image, layer.weight[:, :, 1:2, 1:2])
    assert torch.allclose(layer(image), wanted, atol=1e-6)


@given(
    rate=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    data=st.data(),
)
def test_a_clamped_rate_reaches_the_features_or_is_1(rate: list[int], data: st.DataObject) -> None:
    space = [data.draw(st.integers(1, 50)) for _ in rate]
    for found, asked, side in zip(clamped_rate(rate, space), rate, space, strict=True):
        assert 1 <= found <= asked
        assert found == 1 or 2 * found + 1 <= side
        # It is the largest of these.
        assert found == asked or 2 * (found + 1) + 1 > side


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("separable", [False, True])
def test_every_branch_of_an_aspp_and_the_mean_are_heard(dims: int, separable: bool) -> None:
    torch.manual_seed(0)
    pyramid = ASPP(dims, 3, 4, Atrous(rates=(1, 2), separable=separable)).eval()
    # High above where a ReLU would hide what a branch says: its own, and the joint one.
    for layer in pyramid.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            torch.nn.init.constant_(layer.bias, 10.0)
    image = torch.randn(1, 3, *SPACES[dims])
    with torch.no_grad():
        before = pyramid(image)
        assert before.shape == (1, 4, *SPACES[dims])
        for place in range(4):
            weight = pyramid.project.conv.weight
            kept = weight.clone()
            weight[:, 4 * place : 4 * place + 4] = 0
            assert not torch.equal(pyramid(image), before)
            weight.copy_(kept)


def test_the_mean_of_the_image_reaches_every_place_alike() -> None:
    pyramid = ASPP(2, 3, 4, Atrous(rates=())).eval()
    torch.nn.init.zeros_(pyramid.branches[0].conv.weight)
    out = pyramid(torch.randn(1, 3, 6, 7))
    assert torch.allclose(out, out[..., :1, :1].expand_as(out))


def test_a_separable_convolution_mixes_no_channels_before_its_second_half() -> None:
    layer, image = Separable(3, 4, 5, 2).eval(), torch.randn(1, 4, 6, 6, 6)
    changed = image.clone()
    changed[:, 1] += 1
    both = layer.between(layer.depthwise(image)), layer.between(layer.depthwise(changed))
    same = [(a == b).all().item() for a, b in zip(both[0][0], both[1][0], strict=True)]
    assert same == [True, False, True, True]
    assert layer(image).shape == (1, 5, 6, 6, 6)


@pytest.mark.parametrize("dims", [2, 3])
def test_pyramid_pooling_of_one_bin_is_the_mean_beside_the_map(dims: int) -> None:
    pooling = PyramidPooling(dims, 3, 2, bins=(1,), norm_kind="none", rectify=False)
    image = torch.randn(2, 3, *SPACES[dims])
    out = pooling(image)
    mean = image.flatten(2).mean(2)
    weight = pooling.stages[0].conv.weight.flatten(1)
    assert torch.equal(out[:, :3], image)
    told = (mean @ weight.T).reshape(2, 2, *(1,) * dims).expand_as(out[:, 3:])
    assert torch.allclose(out[:, 3:], told, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_bins_are_no_more_than_the_map_has_voxels(dims: int) -> None:
    """With as many bins as voxels a channel of the pyramid is the map itself, mixed."""
    image = torch.randn(1, 3, *(2, 3, 4)[:dims])
    pooling = PyramidPooling(dims, 3, 2, bins=(9,), norm_kind="none", rectify=False)
    mixed = pooling.stages[0].conv(image)
    assert torch.allclose(pooling(image)[:, 3:], mixed, atol=1e-6)
    assert PyramidPooling(dims, 12).channels == 24


@pytest.mark.parametrize("way", ["collect", "distribute"])
@pytest.mark.parametrize(("space", "mask"), [((3, 4), (3, 5)), ((3, 2), (5, 3)), ((2, 3), (4, 2))])
def test_attention_is_gathered_as_four_loops_do_it(
    way: Literal["collect", "distribute"], space: tuple[int, int], mask: tuple[int, int]
) -> None:
    told = torch.randn(2, mask[0] * mask[1], *space)
    (high, wide), count = space, space[0] * space[1]
    wanted = torch.zeros(2, count, count)
    for x, y in product(range(high), range(wide)):
        for u, v in product(range(high), range(wide)):
            # Place i = (x, y) tells of place j = (u, v), which lies (a, b) in its mask.
            a, b = u - x + (mask[0] - 1) // 2, v - y + (mask[1] - 1) // 2
            if 0 <= a < mask[0] and 0 <= b < mask[1]:
                i, j = x * wide + y, u * wide + v
                one = told[:, a * mask[1] + b, x, y]
                if way == "collect":
                    wanted[:, j, i] = one
                else:
                    wanted[:, i, j] = one
    assert torch.equal(gathered(told, mask, way), wanted)


def test_attention_in_3d_is_gathered_as_six_loops_do_it() -> None:
    space, mask = (2, 3, 2), (3, 3, 3)
    told = torch.randn(1, 27, *space)
    places = list(product(*map(range, space)))
    wanted = torch.zeros(1, 12, 12)
    for (i, here), (j, there) in product(enumerate(places), enumerate(places)):
        offset = [t - h + 1 for h, t in zip(here, there, strict=True)]
        if all(0 <= one < 3 for one in offset):
            channel = offset[0] * 9 + offset[1] * 3 + offset[2]
            wanted[0, j, i] = told[(0, channel, *here)]
    assert torch.equal(gathered(told, mask, "collect"), wanted)


@pytest.mark.parametrize("dims", [2, 3])
def test_attention_that_tells_all_alike_is_a_mean(dims: int) -> None:
    layer = PointwiseSpatialAttention(dims, 3, 4, (5,) * dims, shrink=1).eval()
    image = torch.randn(1, 3, *SPACES[dims])
    with torch.no_grad():
        for way in (layer.collect, layer.distribute):
            way.attention[1].weight.zero_()
        values = layer.collect.reduce(image)
        mean = values.flatten(2).mean(2)
        found = layer.collect(image, 1)
        assert torch.allclose(found, mean.reshape(1, 4, *(1,) * dims).expand_as(found), atol=1e-5)
        assert torch.equal(layer(image)[:, :3], image)


def separate(kernel: int, dims: int) -> tuple[GlobalConvolution, Tensor]:
    """One channel to one, every thin kernel the same, and the large kernel that it makes."""
    layer = GlobalConvolution(dims, 1, 1, kernel)
    line = torch.randn(kernel)
    for chain in layer.chains:
        for step in chain:
            step.weight.data = line.reshape(step.weight.shape).clone()
            step.bias.data.zero_()
    large = line
    for _ in range(dims - 1):
        large = large[..., None] * line
    return layer, large[None, None]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_global_convolution_of_one_channel_is_a_large_kernel_for_each_axis(
    dims: int, kernel: int
) -> None:
    layer, large = separate(kernel, dims)
    image = torch.randn(1, 1, *SPACES[dims])
    wanted = dims * CONVS[dims](image, large, padding=kernel // 2)
    assert torch.allclose(layer(image), wanted, atol=1e-4)


def test_a_global_convolution_has_no_axis_of_its_own() -> None:
    """Chains begin along every axis, so that turning axes round turns the weights round."""
    shapes = [
        [tuple(step.weight.shape[2:]) for step in chain]
        for chain in GlobalConvolution(3, 2, 3, 7).chains
    ]
    x, y, z = (7, 1, 1), (1, 7, 1), (1, 1, 7)
    assert shapes == [[x, y, z], [y, z, x], [z, x, y]]


def test_a_border_refinement_of_zero_weights_changes_nothing() -> None:
    layer, scores = BoundaryRefinement(3, 4), torch.randn(1, 4, 5, 6, 7)
    assert not torch.equal(layer(scores), scores)
    torch.nn.init.zeros_(layer.convs[2].weight)
    torch.nn.init.zeros_(layer.convs[2].bias)
    assert torch.equal(layer(scores), scores)
