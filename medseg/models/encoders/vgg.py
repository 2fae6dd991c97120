"""VGG-16 (Simonyan & Zisserman 2014, arXiv:1409.1556) as an encoder, n-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.models.layers import (
    ConvNormAct,
    NormKind,
    PerAxis,
    axes,
    draw_for_relu,
    max_pool,
)
from medseg.models.options import multiples

_CONVS = (2, 2, 3, 3, 3)
_TIMES = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """Five features of (B, C, *space), each behind a pooling.

    ``pool_kernel`` 2 pools as the paper does, odd sides rounded up; with 3 neighbouring poolings
    overlap. ``rates`` dilate the convolutions of each stage, which a pooling of stride 1 before
    it asks for. ``border`` is the padding of the first convolution.
    """

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        in_channels: int,
        *,
        base: int = 64,
        strides: Sequence[PerAxis] = (2, 2, 2, 2, 2),
        rates: Sequence[int] = (1, 1, 1, 1, 1),
        pool_kernel: int = 2,
        norm_kind: NormKind = "none",
        border: int = 1,
    ) -> None:
        super().__init__()
        steps = [axes(dims, step) for step in strides]
        self.channels = tuple(base * times for times in _TIMES)
        self.strides = tuple(multiples(steps[: stage + 1]) for stage in range(len(steps)))
        self.stages, self.pools = nn.ModuleList(), nn.ModuleList()
        inputs = in_channels
        for stage, (width, count) in enumerate(zip(self.channels, _CONVS, strict=True)):
            layers, rate = nn.Sequential(), rates[stage]
            for place in range(count):
                first = stage == place == 0
                layers.append(
                    ConvNormAct(
                        dims,
                        inputs,
                        width,
                        bias=norm_kind == "none",
                        norm_kind=norm_kind,
                        dilation=rate,
                        padding=border if first else rate,
                    )
                )
                inputs = width
            self.stages.append(layers)
            self.pools.append(_pool(dims, pool_kernel, steps[stage]))
        draw_for_relu(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to features (B, channels, *space / strides)."""
        features = []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            image = pool(stage(image))
            features.append(image)
        return features


def _pool(dims: int, kernel: int, stride: Sequence[int]) -> nn.Module:
    if kernel > 2:
        return max_pool(dims, kernel, stride, padding=kernel // 2)
    return max_pool(dims, stride, ceil_mode=True)
