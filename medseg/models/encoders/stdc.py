"""The encoder of STDC (Fan et al. 2021, arXiv:2104.13188), n-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.models.layers import ConvNormAct, NormKind, draw_for_relu
from medseg.models.modules.stdc import ConcatBlock
from medseg.models.options import Axes, multiples, strides_by_axis


class STDCEncoder(nn.Module):
    """Two convolutions, then three stages of ``blocks`` with 4, 8 and 16 times ``base`` channels.

    Each of the five makes the grid coarser by one entry of ``strides`` (2 where left out).
    (2, 2, 2) blocks are STDC1 and (4, 5, 3) are STDC2. ``base`` is even.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        blocks: Sequence[int] = (2, 2, 2),
        base: int = 64,
        strides: Sequence[Axes] | None = None,
        norm_kind: NormKind = "batch",
    ) -> None:
        super().__init__()
        steps = strides_by_axis(strides, dims, 5)
        self.channels: tuple[int, ...] = (base // 2, base, 4 * base, 8 * base, 16 * base)
        self.strides = tuple(multiples(steps[: place + 1]) for place in range(5))
        self.stages = nn.ModuleList()
        for width, step in zip(self.channels[:2], steps[:2], strict=True):
            self.stages.append(
                ConvNormAct(dims, inputs, width, 3, stride=step, norm_kind=norm_kind)
            )
            inputs = width
        for width, step, count in zip(self.channels[2:], steps[2:], blocks, strict=True):
            first = ConcatBlock(dims, inputs, width, step, norm_kind)
            others = (ConcatBlock(dims, width, width, None, norm_kind) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *others))
            inputs = width
        draw_for_relu(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``image (B, C, *space)`` to features (B, channels, *space / strides), fine to coarse."""
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features
