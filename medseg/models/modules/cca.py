"""Channel-wise cross attention of UCTransNet's decoder (Wang et al. 2022, arXiv:2109.04335)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelCrossAttention(nn.Module):
    """Weighs the channels of a skip by the means of the skip and of what comes from below."""

    def __init__(self, dims: int, channels: int, gate_channels: int) -> None:
        super().__init__()
        self.space = tuple(range(2, 2 + dims))
        self.skip = nn.Linear(channels, channels)
        self.gate = nn.Linear(gate_channels, channels)

    def forward(self, skip: Tensor, raised: Tensor) -> Tensor:
        """``skip (B, C, *space)`` by ``raised (B, G, *space)``, to (B, C, *space)."""
        scores = self.skip(skip.mean(self.space)) + self.gate(raised.mean(self.space))
        weights = torch.sigmoid(scores / 2).reshape(*scores.shape, *(1,) * len(self.space))
        return torch.relu(skip * weights)
