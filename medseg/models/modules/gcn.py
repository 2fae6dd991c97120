"""Global convolution and boundary refinement (GCN, Peng et al. 2017, arXiv:1703.02719), n-D."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.models.layers import Summed, conv


class GlobalConvolution(nn.Module):
    """A large kernel by chains of thin ones, one chain from each axis on, summed."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.chains = Summed()
        for first in range(dims):
            chain, channels = nn.Sequential(), inputs
            for step in range(dims):
                thin = [1] * dims
                thin[(first + step) % dims] = kernel
                chain.append(conv(dims, channels, outputs, thin))
                channels = outputs
            self.chains.append(chain)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, C', *space)."""
        out: Tensor = self.chains(features)
        return out


class BoundaryRefinement(nn.Module):
    """Scores and what two convolutions would change of them."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv(dims, channels, channels, 3), nn.ReLU(), conv(dims, channels, channels, 3)
        )

    def forward(self, scores: Tensor) -> Tensor:
        """(B, K, *space) to the same shape."""
        out: Tensor = scores + self.convs(scores)
        return out
