"""Flow alignment (SFNet, Li et al. 2020, arXiv:2002.10120), n-D: coarse features warped onto fine.

The gated form is that of SFNet-Lite (Li et al. 2022, arXiv:2207.04415).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from medseg.models.layers import conv, resized


def warped(features: Tensor, flow: Tensor) -> Tensor:
    """``features (B, C, *coarser)`` read at every voxel of ``flow (B, dims, *space)``.

    Without flow it is linear interpolation with corners aligned. A flow of 1 moves by a half of a
    voxel of the flow's own grid; its first channel is along the last axis.
    """
    space = flow.shape[2:]
    lines = [torch.linspace(-1, 1, side, device=flow.device) for side in space]
    regular = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
    sides = torch.tensor(space[::-1], dtype=torch.float32, device=flow.device)
    grid = regular + flow.movedim(1, -1).float() / sides
    # In low precision the grid itself would be off by whole voxels.
    found = grid_sample(features.float(), grid, padding_mode="border", align_corners=True)
    return found.to(features.dtype)


class _Flow(nn.Module):
    """Both maps, reduced and side by side on the fine grid, to ``outputs`` numbers a voxel."""

    def __init__(self, dims: int, channels: int, outputs: int) -> None:
        super().__init__()
        middle = max(channels // 2, 1)
        self.low = conv(dims, channels, middle, 1, bias=False)
        self.high = conv(dims, channels, middle, 1, bias=False)
        self.flow = conv(dims, 2 * middle, outputs, 3, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        raised = resized(self.high(high), low.shape[2:], align_corners=True)
        out: Tensor = self.flow(torch.cat([raised, self.low(low)], 1))
        return out


class FlowAlignment(_Flow):
    """Coarse features moved, voxel by voxel, to where the fine ones say they belong."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__(dims, channels, dims)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """``low (B, C, *space)`` and ``high (B, C, *coarser)`` to (B, C, *space)."""
        return warped(high, super().forward(low, high))


class GatedFlowAlignment(_Flow):
    """Both maps moved onto each other, and mixed by a gate of their channels' means and maxima."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__(dims, channels, 2 * dims)
        self.dims = dims
        self.gate = conv(dims, 4, 1, 3, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """``low (B, C, *space)`` and ``high (B, C, *coarser)`` to (B, C, *space)."""
        flow = super().forward(low, high)
        raised = resized(high, low.shape[2:], align_corners=True)
        told = [
            statistic
            for one in (low, raised)
            for statistic in (one.mean(1, keepdim=True), one.amax(1, keepdim=True))
        ]
        share = self.gate(torch.cat(told, 1)).sigmoid()
        coarse, fine = warped(high, flow[:, : self.dims]), warped(low, flow[:, self.dims :])
        out: Tensor = share * coarse + (1 - share) * fine
        return out
