"""Mix Transformer, the encoder of SegFormer (Xie et al. 2021, arXiv:2105.15203), n-D.

Tokens keep their grid: (B, *grid, C) from end to end, so that no side is ever guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm, prod

from torch import Tensor, nn

from medseg.models.layers import DropPath, NormKind, conv, norm
from medseg.models.modules.attention import attended, draw_linear

Axes = tuple[int, ...]


@dataclass(frozen=True)
class MiTForm:
    """One entry a stage; ``strides`` and ``reductions`` one number an axis in each.

    ``reductions`` says how much coarser the keys and values are than the queries, ``expansions``
    how much wider a MixFFN is within than without (left out: 4 times). ``norm`` is what follows
    its depthwise convolution: none, or as SegFormer3D has it.
    """

    widths: Sequence[int]
    depths: Sequence[int]
    heads: Sequence[int]
    strides: Sequence[Axes]
    reductions: Sequence[Axes]
    expansions: Sequence[int] | None = None
    drop_path: float = 0.1
    norm: NormKind = "none"


def over_channels(module: nn.Module, tokens: Tensor) -> Tensor:
    """Let a module of (B, C, *grid) work on ``tokens (B, *grid, C)``."""
    out: Tensor = module(tokens.movedim(-1, 1))
    return out.movedim(1, -1)


class Embedding(nn.Module):
    """A convolution with a stride and a layer normalisation: tokens of a coarser grid.

    ``overlap`` gives a kernel of ``2 stride - 1``: 7 for 4 and 3 for 2 as in the paper, 1 where
    an axis stays as it is. Without it the kernel is the stride.
    """

    def __init__(
        self, dims: int, inputs: int, outputs: int, stride: Axes, *, overlap: bool
    ) -> None:
        super().__init__()
        kernel = [2 * s - 1 for s in stride] if overlap else stride
        padding = [s - 1 for s in stride] if overlap else 0
        self.conv = conv(dims, inputs, outputs, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, *grid, C)`` to (B, *coarser, C')."""
        out: Tensor = self.norm(over_channels(self.conv, tokens))
        return out


class EfficientAttention(nn.Module):
    """Attention whose keys and values come from a grid ``reduction`` times coarser."""

    def __init__(self, dims: int, width: int, heads: int, reduction: Axes) -> None:
        super().__init__()
        self.heads = heads
        self.reduce: nn.Module = nn.Identity()
        if prod(reduction) > 1:
            self.reduce = Embedding(dims, width, width, reduction, overlap=False)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, *grid, C)`` to the same shape."""
        few = self.reduce(tokens).flatten(1, -2)
        query = self.query(tokens).flatten(1, -2)
        mixed = attended(query, self.key(few), self.value(few), self.heads)
        out: Tensor = self.out(mixed).reshape(tokens.shape)
        return out


class MixFFN(nn.Module):
    """An MLP with a depthwise convolution in it, which tells a token where it is."""

    def __init__(self, dims: int, width: int, hidden: int, norm_kind: NormKind) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.depthwise = nn.Sequential()
        self.depthwise.add_module("conv", conv(dims, hidden, hidden, 3, groups=hidden))
        self.depthwise.add_module("norm", norm(dims, hidden, norm_kind))
        self.act = nn.GELU()
        self.project = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, *grid, C)`` to the same shape."""
        hidden = over_channels(self.depthwise, self.expand(tokens))
        out: Tensor = self.project(self.act(hidden))
        return out


class Block(nn.Module):
    """Attention, then MixFFN, each normalised before and added to what came in."""

    def __init__(self, dims: int, form: MiTForm, stage: int, drop_path: float) -> None:
        super().__init__()
        width = form.widths[stage]
        hidden = width * (4 if form.expansions is None else form.expansions[stage])
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = EfficientAttention(dims, width, form.heads[stage], form.reductions[stage])
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.ffn = MixFFN(dims, width, hidden, form.norm)
        self.drop = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, *grid, C)`` to the same shape."""
        tokens = tokens + self.drop(self.attention(self.norm1(tokens)))
        out: Tensor = tokens + self.drop(self.ffn(self.norm2(tokens)))
        return out


class Stage(nn.Sequential):
    """Overlapped patches, blocks, a normalisation: ``.embed``, ``.blocks`` and ``.norm``."""

    def __init__(self, dims: int, inputs: int, form: MiTForm, stage: int) -> None:
        super().__init__()
        width, first = form.widths[stage], sum(form.depths[:stage])
        last = max(sum(form.depths) - 1, 1)
        shares = [form.drop_path * (first + i) / last for i in range(form.depths[stage])]
        embed = Embedding(dims, inputs, width, form.strides[stage], overlap=True)
        blocks = nn.Sequential(*(Block(dims, form, stage, share) for share in shares))
        self.add_module("embed", embed)
        self.add_module("blocks", blocks)
        self.add_module("norm", nn.LayerNorm(width, eps=1e-6))


class MiT(nn.Module):
    """Stages of overlapped patch embeddings and efficient attention, no position table.

    Sides of ``multiples`` leave no voxel out; smaller ones are for the caller to pad.
    """

    def __init__(self, dims: int, in_channels: int, form: MiTForm) -> None:
        super().__init__()
        self.channels = tuple(form.widths)
        self.strides = tuple(
            tuple(prod(axis) for axis in zip(*form.strides[: stage + 1], strict=True))
            for stage in range(len(form.strides))
        )
        wanted = [
            [s * r for s, r in zip(stride, reduction, strict=True)]
            for stride, reduction in zip(self.strides, form.reductions, strict=True)
        ]
        self.multiples = tuple(lcm(*axis) for axis in zip(*wanted, strict=True))
        inputs = (in_channels, *form.widths)
        self.stages = nn.ModuleList(
            Stage(dims, inputs[stage], form, stage) for stage in range(len(form.widths))
        )
        self._draw()

    def _draw(self) -> None:
        draw_linear(self)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)) and layer.bias is not None:
                fan_out = prod(layer.kernel_size) * layer.out_channels // layer.groups
                nn.init.normal_(layer.weight, std=(2 / fan_out) ** 0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to one map (B, width, *grid) a stage, fine to coarse."""
        tokens, features = image.movedim(1, -1), []
        for stage in self.stages:
            tokens = stage(tokens)
            features.append(tokens.movedim(-1, 1))
        return features
