"""STDC (Fan et al. 2021, arXiv:2104.13188), n-D, after the code of its authors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.encoders.stdc import STDCEncoder
from medseg.models.fitting import cropped, padded
from medseg.models.heads import DetailHead, Head, Heads
from medseg.models.layers import resized
from medseg.models.modules.stdc import ContextPath, FeatureFusion, OutputHead
from medseg.models.options import multiples

if TYPE_CHECKING:
    from medseg.models.stdc import STDC


class STDCNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: STDC, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, kind, base = options.spatial_dims, options.norm, options.base
        blocks, steps, back = options.blocks, options.steps, options.context
        self.multiples = multiples(steps)
        self.encoder = STDCEncoder(dims, in_channels, blocks, base, steps, kind)
        *_, fine, middle, coarse = self.encoder.channels
        self.context = ContextPath(dims, (middle, coarse), back, kind)
        self.fusion = FeatureFusion(dims, fine + back, fine, kind)
        self.head = OutputHead(dims, fine, fine, out_channels, kind)
        self.auxiliary = nn.ModuleList(
            OutputHead(dims, back, base, out_channels, kind)
            for _ in range(2 if options.auxiliary else 0)
        )
        self.detail = OutputHead(dims, fine, base, 1, kind) if options.detail else None
        for name, part in self.named_children():
            if name != "encoder":
                _draw(part)

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits (B, K, *space), or heads of them."""
        full = padded(image, self.multiples)
        fine, *deeper = self.encoder(full)[2:]
        maps = self.context(deeper, fine.shape[2:])
        logits = self._fitted(self.head(self.fusion(fine, maps[0])), full, image)
        if not (self.training and (self.auxiliary or self.detail)):
            return logits
        heads: Heads = [Head(logits)]
        for head, one in zip(self.auxiliary, maps, strict=False):
            heads.append(Head(self._fitted(head(one), full, image)))
        if self.detail is not None:
            heads.append(DetailHead(self._fitted(self.detail(fine), full, image)))
        return heads

    def _fitted(self, logits: Tensor, full: Tensor, image: Tensor) -> Tensor:
        logits = resized(logits, full.shape[2:], align_corners=True)
        return cropped(logits, image.shape[2:])


def _draw(module: nn.Module) -> None:
    """Draw all convolutions by what reaches each number, as for no activation."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
