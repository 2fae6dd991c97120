"""Pyramid pooling (PSPNet, Zhao et al. 2017, arXiv:1612.01105), n-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from medseg.models.layers import NormKind, PerAxis, act, axes, conv, norm, pooled_norm, resized

_MEANS: dict[int, Callable[..., Tensor]] = {
    2: adaptive_avg_pool2d,
    3: adaptive_avg_pool3d,
}


class PyramidPooling(nn.Module):
    """A map beside its means over coarser and coarser grids.

    ``bins`` are the grids' sides, each a number or one number an axis, and no more than the map
    has; every grid is put into ``channels`` channels (left out: the map's, shared among them).
    ``rectify`` ends each in a ReLU, which SFNet leaves out.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        channels: int | None = None,
        bins: Sequence[PerAxis] = (1, 2, 3, 6),
        *,
        norm_kind: NormKind = "batch",
        rectify: bool = True,
    ) -> None:
        super().__init__()
        width = channels or max(inputs // len(bins), 1)
        self.bins = [axes(dims, one) for one in bins]
        self.channels = inputs + width * len(bins)
        self.stages = nn.ModuleList()
        for one in self.bins:
            stage = nn.Sequential()
            stage.add_module("conv", conv(dims, inputs, width, 1, bias=False))
            single = max(one) == 1
            stage.add_module(
                "norm", pooled_norm(width, norm_kind) if single else norm(dims, width, norm_kind)
            )
            stage.add_module("act", act("relu" if rectify else "none"))
            self.stages.append(stage)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, channels, *space): the map itself first."""
        space = features.shape[2:]
        said = [features]
        for bins, stage in zip(self.bins, self.stages, strict=True):
            size = [min(b, side) for b, side in zip(bins, space, strict=True)]
            coarse = stage(_MEANS[len(space)](features, size))
            said.append(resized(coarse, space, align_corners=True))
        return torch.cat(said, 1)
