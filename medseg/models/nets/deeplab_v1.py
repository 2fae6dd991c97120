"""DeepLab v1 (Chen et al. 2015, arXiv:1412.7062): original, LargeFOV and multi-scale, n-D.

The poolings of the original form are those of LargeFOV, which overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.encoders.vgg import VGG
from medseg.models.fitting import cropped, padded
from medseg.models.layers import (
    ConvNormAct,
    NormKind,
    SmoothPool,
    act,
    conv,
    draw_for_relu,
    dropout,
    norm,
    resized,
)
from medseg.models.modules.aspp import dilated

if TYPE_CHECKING:
    from medseg.models.deeplab_v1 import DeepLabV1
    from medseg.models.options import Axes


class VGGClassifier(nn.Sequential):
    """VGG's two last layers as convolutions, the first with taps ``rate`` apart, and the labels."""

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        inputs: int,
        channels: int,
        labels: int,
        rate: int | Axes,
        *,
        norm_kind: NormKind = "none",
        share: float = 0.5,
        clamp: bool = True,
    ) -> None:
        bias = norm_kind == "none"
        super().__init__(
            dilated(dims, inputs, channels, rate, bias=bias, clamp=clamp),
            *_rest(dims, channels, labels, norm_kind, share),
        )


def _rest(
    dims: int, channels: int, labels: int, kind: NormKind, share: float
) -> tuple[nn.Module, ...]:
    return (
        norm(dims, channels, kind),
        act(),
        dropout(dims, share),
        ConvNormAct(dims, channels, channels, 1, norm_kind=kind, bias=kind == "none"),
        dropout(dims, share),
        conv(dims, channels, labels, 1),
    )


class DeepLabV1Net(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: DeepLabV1, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, kind = options.spatial_dims, options.norm
        base = options.base or (64 if dims == 2 else 32)
        self.encoder = VGG(
            dims,
            in_channels,
            base=base,
            strides=options.steps,
            rates=(1, 1, 1, 1, 2),
            pool_kernel=3,
            norm_kind=kind,
        )
        self.head = _head(options, self.encoder.channels[-1], out_channels)
        self.sides = nn.ModuleList()
        if options.multi_scale:
            middle = max(2 * base, 1)
            for inputs in (in_channels, *self.encoder.channels[:4]):
                self.sides.append(_side(options, inputs, middle, out_channels))
        draw_for_relu(self)
        for branch in (self.head, *self.sides):
            nn.init.normal_(branch[-1].weight, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.encoder.strides[-1])
        features = self.encoder(full)
        logits = resized(self.head(features[-1]), full.shape[2:])
        for side, one in zip(self.sides, [full, *features[:4]], strict=False):
            logits = logits + resized(side(one), full.shape[2:])
        return cropped(logits, image.shape[2:])


def _head(options: DeepLabV1, inputs: int, labels: int) -> nn.Sequential:
    dims, kind, share = options.spatial_dims, options.norm, options.dropout
    paper = 1024 if options.field == "large" else 4096
    channels = options.hidden_channels or (paper if dims == 2 else 256)
    if options.field == "large":
        head = VGGClassifier(
            dims, inputs, channels, labels, options.reach, norm_kind=kind, share=share
        )
        return nn.Sequential(SmoothPool(dims, 1), *head)
    # Four taps that are 4 apart reach 6 voxels to either side.
    first = conv(dims, inputs, channels, 4, dilation=4, padding=6, bias=kind == "none")
    return nn.Sequential(first, *_rest(dims, channels, labels, kind, share))


def _side(options: DeepLabV1, inputs: int, channels: int, labels: int) -> nn.Sequential:
    dims, kind = options.spatial_dims, options.norm
    layers: list[nn.Module] = []
    for before, kernel in ((inputs, 3), (channels, 1)):
        layers.append(
            ConvNormAct(dims, before, channels, kernel, norm_kind=kind, bias=kind == "none")
        )
        layers.append(dropout(dims, options.dropout))
    return nn.Sequential(*layers, conv(dims, channels, labels, 1))
