"""Densely connected atrous pyramid pooling (DenseASPP, Yang et al. 2018, CVPR), n-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.models.layers import NormKind, PerAxis, conv, dropout, norm
from medseg.models.modules.aspp import dilated


class DenseASPPUnit(nn.Module):
    """A map to ``outputs`` channels by one rate; the first unit of a pyramid is not ``normed``."""

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        inputs: int,
        middle: int,
        outputs: int,
        rate: PerAxis,
        *,
        normed: bool = True,
        norm_kind: NormKind = "batch",
        share: float = 0.1,
        clamp: bool = True,
    ) -> None:
        super().__init__()
        self.norm = norm(dims, inputs, norm_kind) if normed else nn.Identity()
        self.reduce = nn.Sequential()
        self.reduce.add_module("conv", conv(dims, inputs, middle, 1))
        self.reduce.add_module("norm", norm(dims, middle, norm_kind))
        self.spread = dilated(dims, middle, outputs, rate, bias=True, clamp=clamp)
        self.dropout = dropout(dims, share)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, outputs, *space)."""
        narrow = self.reduce(self.norm(features).relu())
        out: Tensor = self.dropout(self.spread(narrow.relu()))
        return out


class DenseASPPModule(nn.Module):
    """Dilated convolutions of growing rates, each of which sees the map and all before it.

    Each first reduces what it sees to ``middle`` channels and adds ``outputs``; the newest stand
    first. ``rates`` are numbers or one number an axis, and with ``clamp`` never larger than the
    features along that axis allow.
    """

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        inputs: int,
        middle: int,
        outputs: int,
        rates: Sequence[PerAxis] = (3, 6, 12, 18, 24),
        *,
        share: float = 0.1,
        norm_kind: NormKind = "batch",
        clamp: bool = True,
    ) -> None:
        super().__init__()
        self.channels = inputs + outputs * len(rates)
        self.units = nn.ModuleList(
            DenseASPPUnit(
                dims,
                inputs + place * outputs,
                middle,
                outputs,
                rate,
                normed=place > 0,
                norm_kind=norm_kind,
                share=share,
                clamp=clamp,
            )
            for place, rate in enumerate(rates)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, channels, *space); what came in is rectified."""
        seen = features.relu()
        for unit in self.units:
            seen = torch.cat([unit(seen), seen], 1)
        return seen
