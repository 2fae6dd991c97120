"""A network whose answers are known, and volumes to ask it about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from medseg.image import Grid, Label, Labels, Volume
from medseg.models import Network
from medseg.models.weights import weights_bytes

TWO = Labels((Label("a", (1,)), Label("b", (2,))))
ONE = Labels((Label("body", (1,)),))
REGIONS = Labels((Label("whole", (1, 2)), Label("part", (2,))))


def scan(*shape: int, seed: int = 0) -> Volume:
    data = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    return Volume(data, Grid(np.eye(4), shape))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pointwise(Network):
    """Logits are a linear function of a voxel; ``shift`` can make them overflow."""

    name: ClassVar[str] = "pointwise"
    shift: float = 0.0

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        conv = nn.Conv3d if self.spatial_dims == 3 else nn.Conv2d
        module = conv(in_channels, out_channels, 1)
        with torch.no_grad():
            module.weight.copy_(torch.arange(out_channels).reshape(module.weight.shape) - 1.0)
            module.bias.fill_(self.shift)  # type: ignore[union-attr]
        return module


def saved(network: Network, folder: Path, labels: Labels = TWO) -> Path:
    path = folder / "w.safetensors"
    path.write_bytes(weights_bytes(network(1, labels.channels).state_dict()))
    return path
