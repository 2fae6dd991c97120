"""A neural attention field: any point asks a coarse map what lies there.

Chitta et al. 2021, arXiv:2109.04456. Points (B, N, dims) are those of
``medseg.models.heads.PointHead``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import pi

import torch
from torch import Tensor, nn

from medseg.models.heads import Heads, PointHead
from medseg.models.layers import conv
from medseg.models.modules.point_rend import Spread, inner, sampled


class _ConditionalNorm(nn.Module):
    """Batch normalisation whose scale and shift at each point follow from its state."""

    def __init__(self, state: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, affine=False)
        self.scale = nn.Conv1d(state, channels, 1)
        self.shift = nn.Conv1d(state, channels, 1)
        for one, bias in ((self.scale, 1.0), (self.shift, 0.0)):
            nn.init.zeros_(one.weight)
            nn.init.constant_(one.bias, bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """``features (B, C, N)`` under ``state (B, S, N)``."""
        normal: Tensor = self.norm(features)
        scaled: Tensor = self.scale(state) * normal + self.shift(state)
        return scaled


class _Block(nn.Module):
    """A residual block of two layers; it begins as the identity."""

    def __init__(self, state: int, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_ConditionalNorm(state, channels) for _ in range(2))
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(2))
        nn.init.zeros_(self.layers[1].weight)  # type: ignore[arg-type]

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """``features (B, C, N)`` under ``state (B, S, N)``."""
        inner = features
        for norm, layer in zip(self.norms, self.layers, strict=True):
            inner = layer(norm(inner, state).relu())
        return features + inner


class _Stack(nn.Module):
    """Blocks, a last normalisation, and a layer to the outputs."""

    def __init__(self, state: int, channels: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(state, channels) for _ in range(blocks))
        self.norm = _ConditionalNorm(state, channels)
        self.out = nn.Conv1d(channels, outputs, 1)

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """``features (B, C, N)`` under ``state (B, S, N)`` to (B, outputs, N)."""
        for block in self.blocks:
            features = block(features, state)
        out: Tensor = self.out(self.norm(features, state).relu())
        return out


class AttentionField(nn.Module):
    """Logits of any point of the image, from a coarse map of it.

    The map's voxels are tokens. A point's state begins as their mean; in each of ``iterations``
    the point, under its state, weighs the tokens, and their mean by these weights is its next
    state. Unlike the paper, which learns one weight per place of a fixed grid, tokens are weighed
    by a key made of what they hold and where they lie, so that the map may have any size.
    ``bands`` are the frequencies in which coordinates are told (0: as plain numbers); with
    ``conditions`` a point also tells that many numbers of a finer map where it lies.
    """

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        channels: int,
        labels: int,
        *,
        hidden: int = 128,
        blocks: int = 5,
        iterations: int = 2,
        bands: int = 6,
        conditions: int = 0,
        per_label: int = 64,
        chunk: int = 4096,
    ) -> None:
        super().__init__()
        self.labels, self.iterations, self.bands = labels, iterations, bands
        self.per_label, self.chunk = per_label, chunk
        coordinates = dims * (1 + 2 * bands)
        self.query = conv(1, coordinates + conditions, hidden, 1)
        self.key = conv(1, channels + coordinates, hidden, 1, bias=False)
        self.weighing = _Stack(channels, hidden, hidden, blocks)
        self.deciding = _Stack(channels, hidden, labels, blocks)

    def forward(
        self, context: Spread, space: Sequence[int], fine: Spread | None = None
    ) -> Tensor | Heads:
        """Logits (B, K, *space) of the image; in training those of points.

        ``context`` is the map (B, C, *grid) that is asked, ``fine`` the one that points tell of.
        """
        tokens = context.data.flatten(2)
        grid = centres(context.data.shape[2:]).to(tokens.device)
        # Places are told as parts of the image also where the map covers more than it.
        places = inner(grid, context.field, space)
        if self.training:
            count = self.per_label * self.labels
            points = 2 * torch.rand(len(tokens), count, len(space), device=tokens.device) - 1
            *early, last = self.at(tokens, places, points, _conditions(fine, points, space))
            # The last iteration weighs 1, the others 0.1.
            return [*(PointHead(one, points, 0.1) for one in early), PointHead(last, points)]
        said = []
        for part in torch.split(centres(space).to(tokens.device), self.chunk, 1):
            points = part.expand(len(tokens), -1, -1)
            said.append(self.at(tokens, places, points, _conditions(fine, points, space))[-1])
        return torch.cat(said, 2).reshape(len(tokens), self.labels, *space)

    def at(
        self, tokens: Tensor, places: Tensor, points: Tensor, conditions: Tensor | None = None
    ) -> list[Tensor]:
        """Logits (B, K, N) at ``points (B, N, dims)``, one a iteration.

        ``tokens (B, C, T)`` lie at ``places (B or 1, T, dims)``; ``conditions (B, D, N)`` are what
        the points tell beside their coordinates.
        """
        batch = len(tokens)
        told = self._told(places).expand(batch, -1, -1).to(tokens.dtype)
        keys = self.key(torch.cat([tokens, told], 1))
        asking = self._told(points).to(tokens.dtype)
        if conditions is not None:
            asking = torch.cat([asking, conditions.to(tokens.dtype)], 1)
        query = self.query(asking)
        state = tokens.mean(2, keepdim=True).expand(-1, -1, points.shape[1])
        logits = []
        for _ in range(self.iterations):
            asked = self.weighing(query, state)
            shares = (asked.transpose(1, 2) @ keys / keys.shape[1] ** 0.5).softmax(2)
            state = tokens.to(shares.dtype) @ shares.transpose(1, 2)
            logits.append(self.deciding(query, state))
        return logits

    def _told(self, points: Tensor) -> Tensor:
        """Points (B, N, dims) as (B, channels, N): themselves, then sines and cosines."""
        turns = [points * (pi * 2**band) for band in range(self.bands)]
        waves = [wave(turn) for turn, wave in product(turns, (torch.sin, torch.cos))]
        return torch.cat([points, *waves], 2).transpose(1, 2)


def _conditions(fine: Spread | None, points: Tensor, space: Sequence[int]) -> Tensor | None:
    return None if fine is None else sampled(fine, points, space)


def centres(size: Sequence[int]) -> Tensor:
    """The centres (1, N, dims) of a grid's voxels as points, the last axis first."""
    axes = [(2 * torch.arange(side) + 1) / side - 1 for side in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flip(-1).reshape(1, -1, len(size))
