"""DenseASPP: what sees what, on which grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from medseg.models.dense_aspp import DenseASPP
from medseg.models.encoders.densenet import DenseForm, DenseNet
from medseg.models.modules.dense_aspp import DenseASPPModule

SPACES = {2: (9, 12), 3: (7, 9, 8)}


@pytest.mark.parametrize("dims", [2, 3])
def test_every_rate_sees_the_map_and_all_smaller_rates(dims: int) -> None:
    module = DenseASPPModule(dims, 3, 4, 2, (1, 2, 3)).eval()
    image = torch.rand(1, 3, *SPACES[dims])
    with torch.no_grad():
        before = module(image)
        assert before.shape == (1, module.channels, *SPACES[dims])
        # The newest stand first; the map itself is last.
        assert torch.equal(before[:, 6:], image)
        for place in range(3):
            unit = module.units[place]
            kept = unit.spread.bias.clone()
            unit.spread.bias += 10
            changed = (module(image) != before).flatten(2).any(2)[0]
            unit.spread.bias.copy_(kept)
            # Two channels a rate; the rate itself and all larger ones change.
            assert changed.tolist() == [True] * (6 - 2 * place) + [False] * (3 + 2 * place)


def test_the_pyramid_is_what_its_layers_say_one_after_another() -> None:
    torch.manual_seed(0)
    module, image = DenseASPPModule(2, 3, 4, 2, (1, 2)).eval(), torch.randn(1, 3, 9, 9)

    def normed(layer: Any, features: torch.Tensor) -> torch.Tensor:
        mean, var = layer.running_mean, layer.running_var
        return functional.batch_norm(features, mean, var, layer.weight, layer.bias)

    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, torch.nn.BatchNorm2d):
                one.running_mean.uniform_(-1, 1)
                one.running_var.uniform_(0.5, 2)
        seen = image.clamp(min=0)
        for place, (unit, rate) in enumerate(zip(module.units, (1, 2), strict=True)):
            entering = normed(unit.norm, seen).clamp(min=0) if place else seen
            reduce = unit.reduce
            narrow = functional.conv2d(entering, reduce.conv.weight, reduce.conv.bias)
            narrow = normed(reduce.norm, narrow).clamp(min=0)
            weight, bias = unit.spread.weight, unit.spread.bias
            new = functional.conv2d(narrow, weight, bias, padding=rate, dilation=rate)
            seen = torch.cat([new, seen], 1)
        assert torch.allclose(module(image), seen, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("stride", "sides"), [(32, (32, 16, 8, 4, 2)), (8, (32, 16, 8, 8, 8))])
def test_blocks_beyond_the_output_stride_keep_their_grid(
    dims: int, stride: Any, sides: tuple[int, ...]
) -> None:
    form = DenseForm(8, 4, (1, 1, 1, 1))
    encoder = DenseNet(dims, 1, form, output_stride=stride).eval()
    features = encoder(torch.randn(1, 1, *(64,) * dims))
    assert [one.shape[2] for one in features] == list(sides)
    assert [64 // side for side in sides] == [one for one, *_ in encoder.strides]
    # Half of the channels are left behind each block: (8 + 4) / 2, (6 + 4) / 2, ...
    assert encoder.channels == (8, 6, 5, 4, 4)
    assert [one.shape[1] for one in features] == list(encoder.channels)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"growth": 0}, "growth is at least 1"),
        ({"blocks": (1, 1, 0, 1)}, "blocks are four numbers above 0"),
        ({"blocks": (1, 1)}, "blocks are four numbers"),
        ({"dropout": 1.0}, "dropout lies in"),
        ({"strides": (2,)}, "strides wants 5 entries"),
        ({"rates": (0,)}, "rates are a number above 0"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        DenseASPP(**options)


def test_sizes_follow_the_trunk_and_the_dimensions() -> None:
    assert DenseASPP(spatial_dims=2).widths == (64, 32, 128, 64)
    assert DenseASPP(spatial_dims=2, trunk=161).widths == (96, 48, 512, 128)
    assert DenseASPP(spatial_dims=3).widths == (32, 16, 64, 32)
    assert DenseASPP(spatial_dims=3, growth=8).widths == (16, 8, 32, 16)
