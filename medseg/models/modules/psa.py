"""Point-wise spatial attention (PSANet, Zhao et al. 2018, ECCV), n-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import ceil, prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, NormKind, conv, resized


@cache
def channel_of(
    space: tuple[int, ...], mask: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For places j and i of a grid: which channel of a map tells how j lies from i, ``(N, N)``.

    A map has one channel for each offset of ``mask``, the last axis fastest; a side of 2 n + 1
    begins n voxels back, and one of 2 n + 2 reaches one farther on. The second array says where
    the offset is within the mask.
    """
    # Arrays, as the answer is kept: a tensor may be one of a device or a tracer of the moment.
    places, sides = np.array(list(product(*map(range, space)))), np.array(mask)
    steps = np.array([prod(mask[axis + 1 :]) for axis in range(len(mask))])
    offset = places[:, None] - places[None] + (sides - 1) // 2
    inside = ((offset >= 0) & (offset < sides)).all(-1)
    return (offset * steps).sum(-1) * inside, inside


def gathered(told: Tensor, mask: Sequence[int], way: Literal["collect", "distribute"]) -> Tensor:
    """How much place i takes of place j, ``(B, N, N)`` by j and i, from a map of offsets.

    ``told (B, M, *space)`` holds at every place one number for each offset of the mask. To
    ``collect``, a place says how much it wants of the others; to ``distribute``, how much it gives
    them. Offsets beyond the mask count as 0.
    """
    kept = channel_of(tuple(told.shape[2:]), tuple(mask))
    index, inside = (torch.as_tensor(one, device=told.device) for one in kept)
    flat = told.flatten(2)
    scores = flat.gather(1, index.expand(len(flat), -1, -1)) * inside
    return scores if way == "collect" else scores.transpose(1, 2)


class _Direction(nn.Module):
    def __init__(
        self,
        dims: int,
        inputs: int,
        channels: int,
        mask: Sequence[int],
        way: Literal["collect", "distribute"],
        norm_kind: NormKind,
    ) -> None:
        super().__init__()
        self.mask, self.way = tuple(mask), way
        self.reduce = ConvNormAct(dims, inputs, channels, 1, norm_kind=norm_kind)
        self.attention = nn.Sequential(
            ConvNormAct(dims, channels, channels, 1, norm_kind=norm_kind),
            conv(dims, channels, prod(mask), 1, bias=False),
        )

    def forward(self, features: Tensor, shrink: int) -> Tensor:
        values = self.reduce(features)
        small = [max(ceil(side / shrink), min(side, 2)) for side in values.shape[2:]]
        values = resized(values, small, align_corners=True)
        shares = gathered(self.attention(values), self.mask, self.way).softmax(1)
        out = values.flatten(2) @ shares.to(values.dtype)
        return out.reshape(values.shape)


class PointwiseSpatialAttention(nn.Module):
    """A map, and beside it what each place collects from and distributes to the others.

    Attention is computed on a map ``shrink`` times coarser, over offsets within ``mask`` (its
    sides, one an axis); memory grows with the square of that map's voxels.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        channels: int,
        mask: Sequence[int],
        *,
        shrink: int = 2,
        norm_kind: NormKind = "batch",
    ) -> None:
        super().__init__()
        self.shrink, self.channels = shrink, 2 * inputs
        self.collect = _Direction(dims, inputs, channels, mask, "collect", norm_kind)
        self.distribute = _Direction(dims, inputs, channels, mask, "distribute", norm_kind)
        self.project = ConvNormAct(dims, 2 * channels, inputs, 1, norm_kind=norm_kind)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, 2 C, *space): the map itself first."""
        both = [one(features, self.shrink) for one in (self.collect, self.distribute)]
        seen = self.project(torch.cat(both, 1))
        return torch.cat([features, resized(seen, features.shape[2:], align_corners=True)], 1)
