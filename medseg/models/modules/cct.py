"""Channel-wise cross fusion transformer of UCTransNet (Wang et al. 2022, arXiv:2109.04335), n-D.

Tokens are (B, N, C), N places of one grid that every scale shares; attention is between
channels, so its cost grows with N and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm

from medseg.models.layers import ConvNormAct, NormKind, conv, resized, resized_nearest

Axes = tuple[int, ...]


@dataclass(frozen=True)
class CCTForm:
    """``channels`` and ``patches`` have one entry a scale; ``grid`` is the position tables'.

    ``dropout`` is of embeddings, attention and its projections, ``norm`` of what is rebuilt.
    """

    channels: Sequence[int]
    patches: Sequence[Axes]
    grid: Axes
    layers: int = 4
    heads: int = 4
    expansion: int = 4
    dropout: float = 0.1
    norm: NormKind = "batch"


class Embedding(nn.Module):
    """One token a patch, and what is learnt of its place."""

    def __init__(self, dims: int, channels: int, patch: Axes, form: CCTForm) -> None:
        super().__init__()
        self.conv = conv(dims, channels, channels, patch, stride=patch, padding=0)
        self.positions = nn.Parameter(torch.zeros(1, channels, *form.grid))
        self.dropout = nn.Dropout(form.dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Axes]:
        """``features (B, C, *space)`` to (B, N, C) and the grid of the N."""
        tokens = self.conv(features)
        grid = tuple(tokens.shape[2:])
        placed = tokens + resized(self.positions, grid)
        return self.dropout(placed.flatten(2).transpose(1, 2)), grid


class ChannelAttention(nn.Module):
    """The channels of every scale ask those of all scales; heads are whole, not slices.

    The scores of a head, a map of C by ΣC, are normalised to mean 0 and deviation 1 before the
    softmax; what the heads say is averaged.
    """

    def __init__(self, form: CCTForm) -> None:
        super().__init__()
        total = sum(form.channels)
        self.heads = form.heads
        self.queries = nn.ModuleList(
            nn.Linear(width, form.heads * width, bias=False) for width in form.channels
        )
        self.key = nn.Linear(total, form.heads * total, bias=False)
        self.value = nn.Linear(total, form.heads * total, bias=False)
        self.outs = nn.ModuleList(nn.Linear(width, width, bias=False) for width in form.channels)
        self.dropout = nn.Dropout(form.dropout)

    def forward(self, scales: Sequence[Tensor], everything: Tensor) -> list[Tensor]:
        """``scales``, each (B, N, C), and ``everything (B, N, ΣC)`` to the shapes of ``scales``."""
        key, value = self._by_head(self.key(everything)), self._by_head(self.value(everything))
        said = []
        for tokens, query, out in zip(scales, self.queries, self.outs, strict=True):
            asked = self._by_head(query(tokens))
            scores = asked.transpose(2, 3) @ key / everything.shape[2] ** 0.5
            weights = self.dropout(instance_norm(scores).softmax(dim=3))
            mean = (weights @ value.transpose(2, 3)).mean(dim=1)
            said.append(self.dropout(out(mean.transpose(1, 2))))
        return said

    def _by_head(self, tokens: Tensor) -> Tensor:
        """(B, N, heads C) to (B, heads, N, C)."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class Ffn(nn.Sequential):
    """Two linear layers with a GELU between them, drawn as in the paper's code."""

    def __init__(self, width: int, hidden: int) -> None:
        linears = nn.Linear(width, hidden), nn.Linear(hidden, width)
        super().__init__(linears[0], nn.GELU(), linears[1])
        for linear in linears:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)


class Layer(nn.Module):
    """Attention across the scales, then an MLP for each, both added to what came in."""

    def __init__(self, form: CCTForm) -> None:
        super().__init__()
        self.norms = _norms(form)
        self.norm_all = nn.LayerNorm(sum(form.channels), eps=1e-6)
        self.attention = ChannelAttention(form)
        self.ffn_norms = _norms(form)
        self.ffns = nn.ModuleList(Ffn(width, form.expansion * width) for width in form.channels)

    def forward(self, scales: Sequence[Tensor]) -> list[Tensor]:
        """Each (B, N, C) to the same shape."""
        everything = self.norm_all(torch.cat(list(scales), dim=2))
        normed = [norm(tokens) for norm, tokens in zip(self.norms, scales, strict=True)]
        said = self.attention(normed, everything)
        scales = [tokens + one for tokens, one in zip(scales, said, strict=True)]
        ffns = zip(scales, self.ffn_norms, self.ffns, strict=True)
        return [tokens + ffn(norm(tokens)) for tokens, norm, ffn in ffns]


class CCT(nn.Module):
    """Skips of a U-Net, each of which has seen the channels of all of them."""

    def __init__(self, dims: int, form: CCTForm) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            Embedding(dims, width, patch, form)
            for width, patch in zip(form.channels, form.patches, strict=True)
        )
        self.layers = nn.ModuleList(Layer(form) for _ in range(form.layers))
        self.norms = _norms(form)
        self.rebuilds = nn.ModuleList(
            ConvNormAct(dims, width, width, 1, norm_kind=form.norm, bias=True)
            for width in form.channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Each (B, C, *space) to the same shape; space is a multiple of the scale's patch."""
        embedded = [embed(one) for embed, one in zip(self.embeddings, features, strict=True)]
        scales, grid = [tokens for tokens, _ in embedded], embedded[0][1]
        for layer in self.layers:
            scales = layer(scales)
        parts = zip(features, scales, self.norms, self.rebuilds, strict=True)
        return [
            one + rebuild(_spread(norm(tokens), grid, one)) for one, tokens, norm, rebuild in parts
        ]


def _spread(tokens: Tensor, grid: Axes, like: Tensor) -> Tensor:
    """``tokens (B, N, C)`` as a map of ``grid``, by nearest neighbour at the size of ``like``."""
    coarse = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
    return resized_nearest(coarse, like.shape[2:])


def _norms(form: CCTForm) -> nn.ModuleList:
    return nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in form.channels)
