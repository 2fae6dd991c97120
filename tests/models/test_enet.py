"""ENet: unpooling into the places pooled from, bottlenecks written out, strides by axis."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.models.enet import ENet
from medseg.models.nets.enet import Bottleneck, Down, SplitConv, Stem, Style, Up

CONVS = {2: functional.conv2d, 3: functional.conv3d}


def silent(branch: torch.nn.Sequential) -> None:
    """Let a branch give zeros."""
    for parameter in branch[2].parameters():
        torch.nn.init.zeros_(parameter)


@pytest.mark.parametrize(("dims", "stride"), [(2, (2, 2)), (3, (2, 2, 2)), (3, (1, 2, 2))])
def test_unpooling_puts_values_where_the_pool_took_them(dims: int, stride: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 2, *(4, 6, 4)[:dims]) + 0.5
    down, up = Down(Style(dims), 2, 4, stride).eval(), Up(Style(dims), 4, 2, stride).eval()
    _, places = down(image)
    silent(up.branch)
    below = torch.rand(1, 4, *places.shape[2:])
    with torch.no_grad():
        sent = up.main(below)
        raised = functional.prelu(sent, up.act.weight)
        out = up(below, places)
    taken = out.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
    assert torch.equal(taken, raised)
    assert int((out != 0).sum()) == raised.numel()
    largest = image.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
    pool = functional.max_pool2d if dims == 2 else functional.max_pool3d
    assert torch.equal(largest, pool(image, stride))


@pytest.mark.parametrize("dims", [2, 3])
def test_down_is_the_pooled_image_and_zeros_where_the_branch_is_silent(dims: int) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 2, *(4, 6, 4)[:dims])
    down = Down(Style(dims), 2, 8, (2,) * dims).eval()
    silent(down.branch)
    with torch.no_grad():
        out, _ = down(image)
    pool = functional.max_pool2d if dims == 2 else functional.max_pool3d
    assert torch.equal(out[:, :2], pool(image, 2))
    assert not out[:, 2:].any()


def normed(unit: Any, features: Tensor) -> Tensor:
    """The formula of batch normalisation with ENet's epsilon, in inference."""
    layer, shape = unit.norm, (1, -1, *(1,) * (features.ndim - 2))
    scale = layer.weight / (layer.running_var + 1e-3).sqrt()
    moved = features - layer.running_mean.reshape(shape)
    return moved * scale.reshape(shape) + layer.bias.reshape(shape)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_bottleneck_is_its_formula(dims: int) -> None:
    torch.manual_seed(0)
    block, run = Bottleneck(Style(dims), 8, rate=2), CONVS[dims]
    for layer in block.modules():
        if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    image = torch.randn(1, 8, *(7, 6, 5)[:dims])
    reduce, middle, expand, _ = block.eval().branch
    with torch.no_grad():
        inner = functional.prelu(normed(reduce, run(image, reduce.conv.weight)), reduce.act.weight)
        inner = run(inner, middle.conv.weight, middle.conv.bias, padding=2, dilation=2)
        inner = functional.prelu(normed(middle, inner), middle.act.weight)
        wanted = image + normed(expand, run(inner, expand.conv.weight))
        wanted = functional.prelu(wanted, block.act.weight)
        assert torch.allclose(block(image), wanted, atol=1e-5)


@pytest.mark.parametrize(("dims", "kernels"), [(2, 2), (3, 3)])
def test_a_split_convolution_sees_as_many_voxels_as_the_whole_one(dims: int, kernels: int) -> None:
    layer = SplitConv(dims, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            torch.nn.init.ones_(parameter)
        layer.conv.bias.zero_()
        point = torch.zeros(1, 1, *(9,) * dims)
        point[(0, 0, *(4,) * dims)] = 1
        seen = layer(point)
    assert len(list(layer.parameters())) == kernels + 1
    assert (seen[(0, 0, *(slice(2, 7),) * dims)] == 1).all()
    assert seen.sum() == 5**dims


@pytest.mark.parametrize(
    ("channels", "drawn", "total"), [(1, 15, 16), (3, 13, 16), (8, 8, 16), (9, 8, 17), (20, 8, 28)]
)
def test_the_stem_holds_the_image_and_at_least_half_its_width_convolved(
    channels: int, drawn: int, total: int
) -> None:
    stem = Stem(Style(3), channels, 16, (2, 2, 2))
    assert (stem.conv.weight.shape[:2], stem.channels) == ((drawn, channels), total)
    assert ENet(spatial_dims=3)(20, 3).eval()(torch.zeros(1, 20, 3, 4, 5)).shape == (1, 3, 3, 4, 5)


def test_an_axis_with_a_stride_of_1_stays_as_long_as_it_was() -> None:
    options = ENet(widths=(4, 8, 16), repeats=1, strides=((1, 2, 2), (1, 2, 2), 2))
    module = options(1, 2).eval()
    sizes = []
    for part in (module.stem, module.down1, module.down2):
        part.register_forward_hook(
            lambda _m, _i, out: sizes.append(
                tuple((out if hasattr(out, "ndim") else out[0]).shape[2:])
            )
        )
    assert module(torch.randn(1, 1, 6, 16, 24)).shape == (1, 2, 6, 16, 24)
    assert sizes == [(6, 8, 12), (6, 4, 6), (3, 2, 3)]


def test_a_3d_enet_has_the_sheets_two_thirds_of_a_million() -> None:
    assert ENet(spatial_dims=3).parameters(1, 2) == 670_142


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (16, 8, 32)}, "widths rise"),
        ({"widths": (1, 8, 32)}, "widths rise from 2"),
        ({"repeats": 0}, "repeats is at least 1"),
        ({"dropout": 1.0}, "dropout lies"),
        ({"strides": (2, 2)}, "strides wants 3 entries, not 2"),
        ({"strides": (2, 2, (2, 2))}, "strides are a number above 0 or 3"),
        ({"strides": (2, 2, 0)}, "strides are a number above 0 or 3"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ENet(**options)
