"""The global convolutional network (Peng et al. 2017, arXiv:1703.02719), n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.fitting import cropped, padded
from medseg.models.layers import resized
from medseg.models.modules.gcn import BoundaryRefinement, GlobalConvolution

if TYPE_CHECKING:
    from medseg.models.gcn import GCN


class GCNNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: GCN, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims = options.spatial_dims
        self.encoder = options.resnet(in_channels)
        stages = self.encoder.channels[1:]
        self.scores = nn.ModuleList(
            nn.Sequential(
                GlobalConvolution(dims, width, out_channels, options.kernel),
                BoundaryRefinement(dims, out_channels),
            )
            for width in stages
        )
        self.refinements = nn.ModuleList(
            BoundaryRefinement(dims, out_channels) for _ in range(len(stages) + 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.encoder.strides[-1])
        stem, *stages = self.encoder(full)
        *scored, total = [score(one) for score, one in zip(self.scores, stages, strict=True)]
        *merging, half, whole = self.refinements
        for refine, finer in zip(merging, reversed(scored), strict=True):
            total = refine(finer + resized(total, finer.shape[2:]))
        total = half(resized(total, stem.shape[2:]))
        total = whole(resized(total, full.shape[2:]))
        return cropped(total, image.shape[2:])
