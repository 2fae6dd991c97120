"""DeepLab v2 (Chen et al. 2017, arXiv:1606.00915) on a ResNet or VGG-16, n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.models.encoders.vgg import VGG
from medseg.models.fitting import cropped, padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import Summed, resized
from medseg.models.modules.aspp import SummedASPP
from medseg.models.nets.deeplab_v1 import VGGClassifier
from medseg.models.nets.on_encoder import Encoder
from medseg.models.options import strides_by_axis

if TYPE_CHECKING:
    from medseg.models.deeplab_v2 import DeepLabV2


class DeepLabV2Net(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    encoder: Encoder

    def __init__(self, options: DeepLabV2, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, self.scales = options.spatial_dims, options.sizes
        if options.encoder == "vgg":
            self.encoder = _vgg(options, in_channels)
            head: nn.Module = _branches(options, self.encoder.channels[-1], out_channels)
        else:
            self.encoder = options.resnet(in_channels, stride_first=True, dilate_first=True)
            width = self.encoder.channels[-1]
            head = SummedASPP(dims, width, out_channels, options.pyramid, clamp=options.clamp)
        self.head = head

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits, or while training to heads."""
        said = [self._at(image, scale) for scale in self.scales]
        if len(said) == 1:
            return said[0]
        most = torch.stack(said).amax(0)
        return [Head(most), *map(Head, said)] if self.training else most

    def _at(self, image: Tensor, scale: float) -> Tensor:
        size = [max(round(side * scale), 1) for side in image.shape[2:]]
        small = resized(image, size)
        full = padded(small, self.encoder.strides[-1])
        logits = resized(self.head(self.encoder(full)[-1]), full.shape[2:])
        return resized(cropped(logits, size), image.shape[2:])


def _vgg(options: DeepLabV2, in_channels: int) -> VGG:
    dims = options.spatial_dims
    return VGG(
        dims,
        in_channels,
        base=options.wide(64),
        strides=strides_by_axis(options.strides or (2, 2, 2, 1, 1), dims, 5),
        rates=(1, 1, 1, 1, 2),
        pool_kernel=3,
        norm_kind=options.norm,
    )


def _branches(options: DeepLabV2, inputs: int, labels: int) -> Summed:
    dims = options.spatial_dims
    hidden = options.hidden_channels or (1024 if dims == 2 else 128)
    return Summed(
        VGGClassifier(
            dims,
            inputs,
            hidden,
            labels,
            rate if isinstance(rate, int) else tuple(rate),
            norm_kind=options.norm,
            share=options.dropout,
            clamp=options.clamp,
        )
        for rate in options.pyramid
    )
