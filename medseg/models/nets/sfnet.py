"""SFNet (Li et al. 2020, arXiv:2002.10120) and SFNet-Lite (arXiv:2207.04415), n-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from medseg.models.fitting import padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import ConvNormAct, conv, dropout, resized
from medseg.models.modules.flow_alignment import FlowAlignment, GatedFlowAlignment
from medseg.models.modules.ppm import PyramidPooling
from medseg.models.nets.on_encoder import fitted

if TYPE_CHECKING:
    from medseg.models.sfnet import SFNet


class Levels(NamedTuple):
    """What a pyramid makes of the features, finest first."""

    said: list[Tensor]
    """The maps that the logits are made of."""
    aligned: list[Tensor]
    """The maps behind a warping, which may be supervised."""


class FlowPyramid(nn.Module):
    """Features from coarse to fine: each level warped onto the next and added to it."""

    def __init__(self, options: SFNet, channels: Sequence[int]) -> None:
        super().__init__()
        dims, width = options.spatial_dims, options.width
        finer = range(len(channels) - 1)
        self.context = _context(options, channels[-1])
        self.laterals = nn.ModuleList(_lateral(options, one) for one in channels[:-1])
        self.alignments = nn.ModuleList(FlowAlignment(dims, width) for _ in finer)
        self.smooth = nn.ModuleList(
            ConvNormAct(dims, width, width, norm_kind=options.norm) for _ in finer
        )

    def forward(self, features: Sequence[Tensor]) -> Levels:
        """Features (B, channels, *space / strides), fine to coarse, to maps of all their grids."""
        level = self.context(features[-1])
        said = [level]
        aligned: list[Tensor] = []
        for place in reversed(range(len(self.laterals))):
            lateral = self.laterals[place](features[place])
            level = lateral + self.alignments[place](lateral, level)
            said.insert(0, self.smooth[place](level))
            aligned.insert(0, level)
        return Levels(said, aligned)


class LitePyramid(nn.Module):
    """The coarsest and the finest features, warped onto each other, beside the last but one."""

    def __init__(self, options: SFNet, channels: Sequence[int]) -> None:
        super().__init__()
        self.context = _context(options, channels[-1])
        self.fine = _lateral(options, channels[0])
        self.coarse = _lateral(options, channels[-2])
        self.alignment = GatedFlowAlignment(options.spatial_dims, options.width)

    def forward(self, features: Sequence[Tensor]) -> Levels:
        """Features (B, channels, *space / strides), fine to coarse, to maps of two grids."""
        mixed = self.alignment(self.fine(features[0]), self.context(features[-1]))
        return Levels([mixed, self.coarse(features[-2])], [mixed])


class SFNetNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: SFNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, width = options.spatial_dims, options.width
        self.encoder = options.resnet(in_channels)
        channels = self.encoder.channels[1:]
        self.pyramid = (LitePyramid if options.lite else FlowPyramid)(options, channels)
        said, aligned = (2, 1) if options.lite else (len(channels), len(channels) - 1)
        self.head = nn.Sequential(
            ConvNormAct(dims, said * width, width, norm_kind=options.norm),
            conv(dims, width, out_channels, 1),
        )
        self.auxiliary = nn.ModuleList(
            _supervised(options, out_channels) for _ in range(aligned * options.auxiliary)
        )

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits, or while training to heads."""
        full = padded(image, self.encoder.strides[-1])
        levels: Levels = self.pyramid(self.encoder(full)[1:])
        space = levels.said[0].shape[2:]
        together = torch.cat([resized(one, space, align_corners=True) for one in levels.said], 1)
        logits = fitted(self.head(together), full, image)
        if not self.training or not self.auxiliary:
            return logits
        further = zip(self.auxiliary, levels.aligned, strict=True)
        return [Head(logits), *(Head(fitted(head(one), full, image)) for head, one in further)]


def _context(options: SFNet, inputs: int) -> nn.Module:
    dims, width, kind = options.spatial_dims, options.width, options.norm
    pooled = PyramidPooling(dims, inputs, width, options.bins, norm_kind=kind, rectify=False)
    return nn.Sequential(
        pooled,
        ConvNormAct(dims, pooled.channels, width, 1, norm_kind=kind),
        dropout(dims, options.dropout),
    )


def _lateral(options: SFNet, inputs: int) -> nn.Module:
    dims, kind = options.spatial_dims, options.norm
    return ConvNormAct(dims, inputs, options.width, 1, norm_kind=kind, bias=True)


def _supervised(options: SFNet, labels: int) -> nn.Module:
    dims, width = options.spatial_dims, options.width
    return nn.Sequential(
        ConvNormAct(dims, width, width, norm_kind=options.norm, bias=True),
        dropout(dims, options.dropout),
        conv(dims, width, labels, 1),
    )
