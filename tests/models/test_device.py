"""Mixed precision: where it must not be trusted, float32 is taken."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from medseg.models.device import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_of_flat_features_are_those_of_full_precision(length: int, kernel: int) -> None:
    """oneDNN leaves the gradients of short first axes unwritten in bfloat16."""
    torch.manual_seed(0)
    layer = nn.Conv3d(8, 8, kernel, padding=kernel // 2)
    image, given = torch.randn(2, 8, length, 4, 4), torch.randn(2, 8, length, 4, 4)
    layer(image).backward(given)
    assert layer.weight.grad is not None
    exact = layer.weight.grad.clone()
    for _ in range(5):
        # What lies where the gradients will be is as large as a number can be.
        waste = [torch.full((layer.weight.numel(),), 1e30) for _ in range(3)]
        del waste
        layer.weight.grad = None
        with autocast(CPU, "bfloat16"):
            said = layer(image)
        said.float().backward(given)
        assert (layer.weight.grad - exact).abs().max() < 0.05 * exact.abs().max()


def test_other_convolutions_stay_in_mixed_precision() -> None:
    layer = nn.Conv3d(2, 2, 3, padding=1)
    with autocast(CPU, "bfloat16"):
        assert layer(torch.randn(1, 2, 3, 4, 4)).dtype == torch.bfloat16
        assert layer(torch.randn(1, 2, 2, 4, 4)).dtype == torch.float32
        assert nn.Conv2d(2, 2, 3)(torch.randn(1, 2, 4, 4)).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert layer(torch.randn(1, 2, 3, 4, 4)).dtype == torch.float32


def test_a_network_without_values_draws_none_and_loads_no_compiler() -> None:
    program = """
import sys
from medseg.models import MODELS
from medseg.models.device import without_values
with without_values():
    built = [MODELS[name](spatial_dims=2)(1, 2) for name in ("dynunet", "unet", "segformer")]
assert {p.device.type for module in built for p in module.parameters()} == {"meta"}
assert "torch._dynamo" not in sys.modules
import torch
from torch import nn
drawn = nn.Conv2d(1, 4, 3)
assert drawn.weight.device.type == "cpu" and len(drawn.weight.unique()) == 36
"""
    subprocess.run([sys.executable, "-c", program], check=True)
