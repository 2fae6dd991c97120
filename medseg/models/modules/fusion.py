"""Coarse features brought onto finer grids, level by level, in four ways.

By concatenation (U-Net, Ronneberger et al. 2015), addition (FPN, Lin et al. 2017), flow alignment
(SFNet, Li et al. 2020) and gated skips (UCTransNet, Wang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, NormKind, resized
from medseg.models.modules.cca import ChannelCrossAttention
from medseg.models.modules.flow_alignment import FlowAlignment
from medseg.models.modules.up_stage import UpStage

Fusion: TypeAlias = Literal["concat", "add", "fam", "cca"]


class Resized(nn.Module):
    """Coarser features on a finer grid, interpolated."""

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """``coarse (B, C, *coarser)`` on the grid of ``fine (B, C, *space)``."""
        return resized(coarse, fine.shape[2:])


class AddedLevel(nn.Module):
    """A level's features, projected, with the coarser ones brought onto them and added."""

    def __init__(
        self, dims: int, inputs: int, width: int, bring: nn.Module, norm_kind: NormKind
    ) -> None:
        super().__init__()
        self.lateral = ConvNormAct(dims, inputs, width, 1, norm_kind=norm_kind)
        self.bring = bring
        self.smooth = ConvNormAct(dims, width, width, norm_kind=norm_kind)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """``below (B, W, *coarser)`` and ``skip (B, C, *space)`` to (B, W, *space)."""
        lateral = self.lateral(skip)
        out: Tensor = self.smooth(lateral + self.bring(lateral, below))
        return out


class TopDown(nn.Module):
    """Features of all levels, fine to coarse, to one map of ``width`` channels on the finest grid.

    The coarsest have that many channels already; ``channels`` are those of the others and
    ``factors`` how much coarser, along each axis, each is than the next finer.
    """

    def __init__(
        self,
        dims: int,
        channels: Sequence[int],
        factors: Sequence[Sequence[int]],
        width: int,
        kind: Fusion,
        norm_kind: NormKind = "batch",
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            _level(dims, inputs, factor, width, kind, norm_kind)
            for inputs, factor in zip(channels, factors, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, C_i, *space_i), the coarsest (B, width, *space_n), to the finest grid."""
        *finer, below = features
        for level, skip in zip(reversed(self.levels), reversed(finer), strict=True):
            below = level(below, skip)
        return below


def _level(
    dims: int,
    inputs: int,
    factor: Sequence[int],
    width: int,
    kind: Fusion,
    norm_kind: NormKind,
) -> nn.Module:
    if kind in {"add", "fam"}:
        bring = Resized() if kind == "add" else FlowAlignment(dims, width)
        return AddedLevel(dims, inputs, width, bring, norm_kind)
    scale = tuple(float(one) for one in factor)
    up = nn.Upsample(scale_factor=scale, mode="bilinear" if dims == 2 else "trilinear")
    convs = nn.Sequential(
        ConvNormAct(dims, inputs + width, width, norm_kind=norm_kind),
        ConvNormAct(dims, width, width, norm_kind=norm_kind),
    )
    gate = ChannelCrossAttention(dims, inputs, width) if kind == "cca" else None
    return UpStage(up, convs, gate)
