"""Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), n-D, for any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.models.layers import DropPath, conv, resized
from medseg.models.modules.attention import Mlp, SelfAttention, draw_linear


@dataclass(frozen=True)
class ViTForm:
    """``patch`` and ``grid`` have one number an axis; ``grid`` is what positions are learned on.

    ``layers`` are those whose tokens are given, counted from 1.
    """

    width: int
    depth: int
    heads: int
    patch: Sequence[int]
    grid: Sequence[int]
    layers: Sequence[int]
    expansion: int = 4
    class_token: bool = True
    dropout: float = 0.0
    drop_path: float = 0.0


class PositionTable(nn.Module):
    """A learned vector at each place of a grid, interpolated along each axis to other grids."""

    def __init__(self, width: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, width, *grid))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, grid: Sequence[int]) -> Tensor:
        """The table (1, width, *grid) of another grid; at its own grid the table itself."""
        return resized(self.table, grid)


class Block(nn.Module):
    """Attention, then an MLP, each normalised before and added to what came in."""

    def __init__(self, form: ViTForm, drop_path: float) -> None:
        super().__init__()
        width = form.width
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, form.heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, form.expansion * width, form.dropout)
        self.drop = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, N, width)`` to the same shape."""
        tokens = tokens + self.drop(self.attention(self.norm1(tokens)))
        out: Tensor = tokens + self.drop(self.mlp(self.norm2(tokens)))
        return out


class ViT(nn.Module):
    """Patches as tokens on one grid; the image's sides are multiples of the patch.

    The patches have no bias, as the position table has one for each place.
    """

    def __init__(self, dims: int, in_channels: int, form: ViTForm) -> None:
        super().__init__()
        self.channels = (form.width,) * len(form.layers)
        self.strides = (tuple(form.patch),) * len(form.layers)
        self.layers = tuple(form.layers)
        patch = tuple(form.patch)
        self.embed = conv(dims, in_channels, form.width, patch, stride=patch, padding=0, bias=False)
        self.positions = PositionTable(form.width, form.grid)
        self.class_token: Tensor | None = None
        if form.class_token:
            self.class_token = nn.Parameter(torch.zeros(1, 1, form.width))
            self.class_position = nn.Parameter(torch.zeros(1, 1, form.width))
            nn.init.trunc_normal_(self.class_position, std=0.02)
        self.dropout = nn.Dropout(form.dropout)
        shares = [form.drop_path * i / max(form.depth - 1, 1) for i in range(form.depth)]
        # What comes after the last layer given would never be read.
        self.blocks = nn.ModuleList(Block(form, share) for share in shares[: max(form.layers)])
        draw_linear(self)

    def tokens(self, image: Tensor) -> tuple[Tensor, torch.Size]:
        """Tokens (B, N, width) with their positions, the class first, and the patches' grid."""
        patches = self.embed(image)
        grid = patches.shape[2:]
        tokens = (patches + self.positions(grid)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            first = (self.class_token + self.class_position).expand(len(tokens), -1, -1)
            tokens = torch.cat([first.to(tokens.dtype), tokens], dim=1)
        return self.dropout(tokens), grid

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to a map (B, width, *grid) of each layer asked for."""
        tokens, grid = self.tokens(image)
        given = {}
        for layer, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if layer in self.layers:
                patches = tokens if self.class_token is None else tokens[:, 1:]
                given[layer] = patches.transpose(1, 2).reshape(len(patches), -1, *grid)
        return [given[layer] for layer in self.layers]
