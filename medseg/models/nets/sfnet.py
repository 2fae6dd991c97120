"""SFNet (Li et al. 2020, arXiv:2002.10120), n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.fitting import padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import ConvNormAct, conv, resized
from medseg.models.modules.flow_alignment import FlowAlignment, GatedFlowAlignment
from medseg.models.modules.ppm import PyramidPooling
from medseg.models.nets.on_encoder import fitted

if TYPE_CHECKING:
    from medseg.models.sfnet import SFNet


class SFNetNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: SFNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, kind, width = options.spatial_dims, options.norm, options.width
        self.encoder = options.resnet(in_channels)
        *finer, coarsest = self.encoder.channels[1:]
        pooling = PyramidPooling(dims, coarsest, width, options.bins, norm_kind=kind, rectify=False)
        self.context = nn.Sequential(
            pooling,
            ConvNormAct(dims, pooling.channels, width, 1, norm_kind=kind),
            nn.Dropout(options.dropout),
        )
        self.laterals = nn.ModuleList(
            ConvNormAct(dims, one, width, 1, norm_kind=kind, bias=True) for one in finer
        )
        form = GatedFlowAlignment if options.gated else FlowAlignment
        self.alignments = nn.ModuleList(form(dims, width) for _ in finer)
        self.smoothings = nn.ModuleList(
            ConvNormAct(dims, width, width, norm_kind=kind) for _ in finer
        )
        self.auxiliary = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(dims, width, width, norm_kind=kind, bias=True),
                nn.Dropout(options.dropout),
                conv(dims, width, out_channels, 1),
            )
            for _ in (finer if options.auxiliary else ())
        )
        self.head = nn.Sequential(
            ConvNormAct(dims, width * (1 + len(finer)), width, norm_kind=kind),
            conv(dims, width, out_channels, 1),
        )

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits, or while training to heads."""
        full = padded(image, self.encoder.strides[-1])
        _, *finer, coarsest = self.encoder(full)
        below = self.context(coarsest)
        levels, told = [below], []
        for place in range(len(finer) - 1, -1, -1):
            lateral = self.laterals[place](finer[place])
            below = lateral + self.alignments[place](lateral, below)
            levels.append(self.smoothings[place](below))
            if self.training and self.auxiliary:
                told.append(Head(fitted(self.auxiliary[place](below), full, image)))
        space = levels[-1].shape[2:]
        joined = torch.cat([resized(one, space, align_corners=True) for one in reversed(levels)], 1)
        logits = fitted(self.head(joined), full, image)
        return [Head(logits), *told] if told else logits
