"""Flow alignment (SFNet, Li et al. 2020, arXiv:2002.10120), n-D."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from medseg.models.layers import conv, resized


def warped(features: Tensor, flow: Tensor) -> Tensor:
    """``features (B, C, *coarser)`` seen at the places of a grid that ``flow`` moves.

    ``flow (B, dims, *space)`` has the last axis first. Along an axis of N voxels a flow of 1
    moves the place by 1 / N, where the whole axis is 2 long: by half a voxel or a little less.
    Zeros lie beyond the borders. It is reckoned in float32 at least.
    """
    precise = torch.promote_types(features.dtype, torch.float32)
    space = flow.shape[2:]
    lines = [torch.linspace(-1, 1, n, dtype=precise, device=flow.device) for n in space]
    regular = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
    moved = regular + flow.to(precise).movedim(1, -1) / regular.new_tensor(space[::-1])
    return grid_sample(features.to(precise), moved, align_corners=True).to(features.dtype)


class _Flow(nn.Module):
    """Both maps in few channels, and from them on the finer grid ``outputs`` channels of flow."""

    def __init__(self, dims: int, channels: int, middle: int | None, outputs: int) -> None:
        super().__init__()
        middle = middle or max(channels // 2, 1)
        self.reduce_high = conv(dims, channels, middle, 1, bias=False)
        self.reduce_low = conv(dims, channels, middle, 1, bias=False)
        self.flow = conv(dims, 2 * middle, outputs, bias=False)

    def seen(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The flow, and the coarser map in few channels on the finer grid."""
        raised = resized(self.reduce_high(high), low.shape[2:], align_corners=True)
        return self.flow(torch.cat([raised, self.reduce_low(low)], 1)), raised


class FlowAlignment(_Flow):
    """Up-sampling that learns where to look: the coarser map, warped by a flow made of both.

    ``middle`` are the channels that the flow is made of (left out: half of ``channels``).
    """

    def __init__(self, dims: int, channels: int, middle: int | None = None) -> None:
        super().__init__(dims, channels, middle, dims)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """``high (B, C, *coarser)`` on the grid of ``low (B, C, *space)``."""
        flow, _ = self.seen(low, high)
        return warped(high, flow)


class GatedFlowAlignment(_Flow):
    """Two maps in one: each warped by a flow of its own, and mixed voxel by voxel by a gate.

    The gate, of SFNet-Lite (Li et al. 2022, arXiv:2207.04415), is made of the channels' mean and
    largest of both maps, of the coarser one's in ``middle`` channels.
    """

    def __init__(self, dims: int, channels: int, middle: int | None = None) -> None:
        super().__init__(dims, channels, middle, 2 * dims)
        self.gate = conv(dims, 4, 1, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """``low (B, C, *space)`` and ``high (B, C, *coarser)`` to (B, C, *space)."""
        flow, raised = self.seen(low, high)
        of_high, of_low = flow.chunk(2, 1)
        means = [one.mean(1, keepdim=True) for one in (raised, low)]
        peaks = [one.amax(1, keepdim=True) for one in (raised, low)]
        gate = self.gate(torch.cat([*means, *peaks], 1)).sigmoid()
        out: Tensor = gate * warped(high, of_high) + (1 - gate) * warped(low, of_low)
        return out
