"""Flow alignment, and the network that is made of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.models.modules.flow_alignment import FlowAlignment, GatedFlowAlignment, warped
from medseg.models.sfnet import SFNet

FINE, COARSE = {2: (8, 11), 3: (6, 9, 8)}, {2: (3, 4), 3: (2, 3, 4)}
MODES = {2: "bilinear", 3: "trilinear"}
CONVS = {2: functional.conv2d, 3: functional.conv3d}


def raised(one: Tensor, space: Any) -> Tensor:
    return functional.interpolate(one, space, mode=MODES[one.ndim - 2], align_corners=True)


@pytest.mark.parametrize("dims", [2, 3])
def test_with_zero_flow_alignment_is_linear_up_sampling(dims: int) -> None:
    layer = FlowAlignment(dims, 4)
    torch.nn.init.zeros_(layer.flow.weight)
    low, high = torch.randn(2, 4, *FINE[dims]), torch.randn(2, 4, *COARSE[dims])
    assert torch.allclose(layer(low, high), raised(high, FINE[dims]), atol=1e-5)


@pytest.mark.parametrize("voxels", [1, -2])
@pytest.mark.parametrize(("dims", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_a_flow_moves_along_its_own_axis(dims: int, axis: int, voxels: int) -> None:
    space = FINE[dims]
    image, flow = torch.randn(1, 2, *space), torch.zeros(1, dims, *space)
    side = space[axis]
    flow[:, dims - 1 - axis] = 2 * side / (side - 1) * voxels
    kept = range(max(-voxels, 0), side - max(voxels, 0))
    moved = warped(image, flow).movedim(2 + axis, 0)
    for place in kept:
        wanted = image.movedim(2 + axis, 0)[place + voxels]
        assert torch.allclose(moved[place], wanted, atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_gate_mixes_both_maps_by_their_statistics(dims: int) -> None:
    layer = GatedFlowAlignment(dims, 4)
    torch.nn.init.zeros_(layer.flow.weight)
    low, high = torch.randn(2, 4, *FINE[dims]), torch.randn(2, 4, *COARSE[dims])
    reduced = raised(CONVS[dims](high, layer.reduce_high.weight), FINE[dims])
    told = [reduced.mean(1), low.mean(1), reduced.amax(1), low.amax(1)]
    gate = CONVS[dims](torch.stack(told, 1), layer.gate.weight, padding=1).sigmoid()
    wanted = gate * raised(high, FINE[dims]) + (1 - gate) * low
    assert torch.allclose(layer(low, high), wanted, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("form", [FlowAlignment, GatedFlowAlignment])
def test_a_single_voxel_is_moved_nowhere(form: Any, dims: int) -> None:
    high = torch.randn(1, 2, *(1,) * dims)
    assert torch.allclose(form(dims, 2)(high, high), high, atol=1e-6)


def test_a_warping_is_bilinear_reading_at_the_moved_places() -> None:
    """Every place for itself, with zeros around the map."""
    features, flow = torch.randn(1, 1, 3, 4), 3 * torch.randn(1, 2, 5, 6)
    found = warped(features, flow)[0, 0]
    for i in range(5):
        for j in range(6):
            x = (2 * j / 5 - 1 + flow[0, 0, i, j] / 6 + 1) / 2 * 3
            y = (2 * i / 4 - 1 + flow[0, 1, i, j] / 5 + 1) / 2 * 2
            rows = (1 - (y - torch.arange(3)).abs()).relu()
            columns = (1 - (x - torch.arange(4)).abs()).relu()
            value = rows @ features[0, 0] @ columns
            assert torch.allclose(found[i, j], value, atol=1e-5)


def test_mixed_precision_warps_in_full_precision() -> None:
    features = torch.arange(200.0).reshape(1, 1, 1, 200)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(warped(features, torch.zeros(1, 2, 1, 200)), features, atol=1e-3)


@pytest.mark.parametrize(("lite", "count"), [(False, 4), (True, 2)])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_warped_level_is_supervised(dims: Any, lite: bool, count: int) -> None:
    space = (33, 40, 9)[:dims]
    module = SFNet(spatial_dims=dims, depth=18, base=4, lite=lite)(1, 3).train()
    heads = module(torch.randn(2, 1, *space))
    assert [head.weight for head in heads] == [1] * count
    assert all(head.logits.shape == (2, 3, *space) for head in heads)
    sum(head.logits.square().mean() for head in heads).backward()
    dead = [k for k, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert [k for k in dead if not k.endswith("conv.bias")] == []
    image = torch.randn(1, 1, *(1,) * dims)
    assert module.eval()(image).shape == (1, 3, *(1,) * dims)
    with torch.no_grad():
        program = torch.export.export(module, (image,))
        assert torch.allclose(program.module()(image), module(image), atol=1e-5)


def test_the_lite_form_is_one_gated_warping_beside_the_stage_before_the_last() -> None:
    module = SFNet(spatial_dims=2, depth=18, base=4, lite=True)(1, 3).eval()
    image = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        _, fine, _, third, last = module.encoder(image)
        made = module.pyramid
        mixed = made.alignment(made.fine(fine), made.context(last))
        both = torch.cat([mixed, raised(made.coarse(third), mixed.shape[2:])], 1)
        wanted = functional.interpolate(module.head(both), (64, 96), mode="bilinear")
        assert mixed.shape[2:] == (16, 24)
        assert torch.allclose(module(image), wanted, atol=1e-5)
