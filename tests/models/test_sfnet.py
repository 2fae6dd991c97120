"""Flow alignment, and the network that is made of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from medseg.models.modules.flow_alignment import FlowAlignment, GatedFlowAlignment, warped
from medseg.models.sfnet import SFNet

FINE, COARSE = {2: (8, 11), 3: (6, 9, 8)}, {2: (3, 4), 3: (2, 3, 4)}
MODES = {2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("dims", [2, 3])
def test_with_zero_flow_alignment_is_linear_up_sampling(dims: int) -> None:
    layer = FlowAlignment(dims, 4)
    torch.nn.init.zeros_(layer.flow.weight)
    low, high = torch.randn(2, 4, *FINE[dims]), torch.randn(2, 4, *COARSE[dims])
    wanted = functional.interpolate(high, FINE[dims], mode=MODES[dims], align_corners=True)
    assert torch.allclose(layer(low, high), wanted, atol=1e-5)


@pytest.mark.parametrize(("dims", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_a_flow_moves_along_its_own_axis_by_halves_of_a_voxel(dims: int, axis: int) -> None:
    space = FINE[dims]
    image, flow = torch.randn(1, 2, *space), torch.zeros(1, dims, *space)
    # A voxel is 2 / (side - 1) wide where corners are aligned; a flow is divided by the side.
    side = space[axis]
    flow[:, dims - 1 - axis] = 2 * side / (side - 1)
    moved = warped(image, flow)
    within = [slice(None)] * (2 + dims)
    within[2 + axis] = slice(0, side - 1)
    shifted = torch.roll(image, -1, 2 + axis)
    assert torch.allclose(moved[tuple(within)], shifted[tuple(within)], atol=1e-4)


def test_what_lies_beyond_the_border_is_what_lies_on_it() -> None:
    image, flow = torch.randn(1, 1, 5, 6), torch.zeros(1, 2, 5, 6)
    flow[:, 1] = 100
    assert torch.allclose(warped(image, flow), image[:, :, -1:].expand_as(image), atol=1e-5)


def test_low_precision_moves_nothing_by_itself() -> None:
    image = torch.arange(200.0).reshape(1, 1, 1, 200).bfloat16()
    still = warped(image, torch.zeros(1, 2, 1, 200).bfloat16())
    assert still.dtype == torch.bfloat16
    assert torch.equal(still, image)


@pytest.mark.parametrize(("gate", "heard"), [(-1e4, 0), (1e4, 1)])
def test_the_gate_chooses_between_both_maps(gate: float, heard: int) -> None:
    layer = GatedFlowAlignment(2, 4)
    torch.nn.init.zeros_(layer.flow.weight)
    torch.nn.init.constant_(layer.gate.weight, gate)
    low, high = torch.rand(1, 4, *FINE[2]) + 1, torch.rand(1, 4, *COARSE[2]) + 1
    raised = functional.interpolate(high, FINE[2], mode="bilinear", align_corners=True)
    assert torch.allclose(layer(low, high), (low, raised)[heard], atol=1e-5)


@pytest.mark.parametrize("form", [FlowAlignment, GatedFlowAlignment])
def test_a_single_voxel_is_moved_nowhere(form: Any) -> None:
    layer = form(3, 2)
    high = torch.randn(1, 2, 1, 1, 1)
    assert layer(high, high).shape == (1, 2, 1, 1, 1)
    assert torch.allclose(layer(high, high), high, atol=1e-6)


def test_each_level_is_supervised_where_it_is_asked_for() -> None:
    module = SFNet(spatial_dims=2, base=4, auxiliary=True, gated=True)(1, 3).train()
    heads = module(torch.randn(2, 1, 33, 40))
    assert [head.weight for head in heads] == [1, 1, 1, 1]
    assert all(head.logits.shape == (2, 3, 33, 40) for head in heads)
    plain = SFNet(spatial_dims=2, base=4)(1, 3).train()
    assert isinstance(plain(torch.randn(2, 1, 33, 40)), torch.Tensor)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bins": (0,)}, "bins are a number above 0"),
        ({"head_channels": 1}, "head_channels is at least 2"),
        ({"dropout": 1.0}, "dropout lies in"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        SFNet(**options)
