"""Bilateral guided aggregation of BiSeNetV2 (Yu et al. 2021, arXiv:2004.02147), n-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, NormKind, SmoothPool, conv, norm, resized_nearest


class BilateralAggregation(nn.Module):
    """Fine detail and coarse meaning, each of them gated by the other on either grid.

    ``strides`` are the two, one after the other, that lead from the detail's grid to that of
    the meaning. As in the code that the paper's figures are repeated with, up-sampling is by
    nearest neighbour and the last convolution ends in a ReLU.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        strides: tuple[Sequence[int], Sequence[int]],
        norm_kind: NormKind = "batch",
    ) -> None:
        super().__init__()
        self.detail_fine = _separable(dims, channels, norm_kind)
        self.detail_coarse = nn.Sequential(
            conv(dims, channels, channels, 3, stride=strides[0], bias=False),
            norm(dims, channels, norm_kind),
            SmoothPool(dims, strides[1]),
        )
        self.semantic_fine = nn.Sequential(
            conv(dims, channels, channels, 3, bias=False), norm(dims, channels, norm_kind)
        )
        self.semantic_coarse = _separable(dims, channels, norm_kind)
        self.merge = ConvNormAct(dims, channels, channels, 3, norm_kind=norm_kind)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """``detail (B, C, *space)`` and ``semantic (B, C, *coarser)`` to (B, C, *space)."""
        space = detail.shape[2:]
        gate = resized_nearest(self.semantic_fine(semantic), space).sigmoid()
        fine = self.detail_fine(detail) * gate
        coarse = self.detail_coarse(detail) * self.semantic_coarse(semantic).sigmoid()
        out: Tensor = self.merge(fine + resized_nearest(coarse, space))
        return out


def _separable(dims: int, channels: int, norm_kind: NormKind) -> nn.Sequential:
    return nn.Sequential(
        conv(dims, channels, channels, 3, groups=channels, bias=False),
        norm(dims, channels, norm_kind),
        conv(dims, channels, channels, 1, bias=False),
    )
