"""SegFormer: a Mix Transformer and a head of linear layers (Xie et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.encoders.mit import MiT, MiTForm
from medseg.models.fitting import cropped, padded
from medseg.models.layers import ConvNormAct, axes, conv, dropout, resized

if TYPE_CHECKING:
    from medseg.models.segformer import SegFormer


class MlpHead(nn.Module):
    """Every stage to one width and to the finest grid, then fused voxel by voxel."""

    def __init__(self, options: SegFormer, inputs: Sequence[int], out_channels: int) -> None:
        super().__init__()
        dims, width = options.spatial_dims, options.parts.head_width
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Linear(channels, width),
                nn.LayerNorm(width) if options.parts.normed else nn.Identity(),
            )
            for channels in inputs
        )
        self.fuse = ConvNormAct(dims, len(inputs) * width, width, 1, norm_kind=options.norm)
        self.dropout = dropout(dims, options.dropout)
        self.classifier = conv(dims, width, out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, *grid), fine to coarse, to logits (B, K, *grid of the finest)."""
        space = features[0].shape[2:]
        maps = [
            resized(project(feature.movedim(1, -1)).movedim(-1, 1), space)
            for project, feature in zip(self.projections, features, strict=True)
        ]
        logits: Tensor = self.classifier(self.dropout(self.fuse(torch.cat(maps[::-1], dim=1))))
        return logits


class SegFormerNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: SegFormer, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, parts = options.spatial_dims, options.parts
        form = MiTForm(
            widths=parts.widths,
            depths=parts.depths,
            heads=parts.heads,
            strides=[axes(dims, stride) for stride in options.strides],
            reductions=[axes(dims, reduction) for reduction in parts.reductions],
            expansions=parts.expansions,
            drop_path=options.drop_path,
            norm=options.norm if parts.normed else "none",
        )
        self.encoder = MiT(dims, in_channels, form)
        self.head = MlpHead(options, self.encoder.channels, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.encoder.multiples)
        logits = resized(self.head(self.encoder(full)), full.shape[2:])
        return cropped(logits, image.shape[2:])
