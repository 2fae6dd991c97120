"""FCN-32s, -16s and -8s (Long et al. 2015, arXiv:1411.4038), n-D.

The offsets of the faithful form are those of the authors' network definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from medseg.models.encoders.vgg import VGG
from medseg.models.fitting import cropped, padded
from medseg.models.layers import ConvNormAct, conv, draw_for_relu, dropout, resized

if TYPE_CHECKING:
    from medseg.models.fcn import FCN

_BORDER = 100
# What the authors cut off before each skip, coarse to fine, and before the image.
_SKIP_OFFSETS = (5, 9)
_OFFSETS = {32: 19, 16: 27, 8: 31}


class FCNNet(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: FCN, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, kind = options.spatial_dims, options.norm
        base = options.base or (64 if dims == 2 else 32)
        hidden = options.hidden_channels or (4096 if dims == 2 else 512)
        kernel = options.kernel or (7 if dims == 2 else 3)
        self.faithful, self.stride = options.faithful, options.stride
        self.scales = (0.01, 0.0001) if options.at_once else (1.0, 1.0)
        self.encoder = VGG(
            dims,
            in_channels,
            base=base,
            strides=options.steps,
            norm_kind=kind,
            border=_BORDER if options.faithful else 1,
        )
        bias = kind == "none"
        padding = 0 if options.faithful else kernel // 2
        widths = self.encoder.channels
        self.classifier = nn.Sequential(
            ConvNormAct(
                dims, widths[-1], hidden, kernel, norm_kind=kind, bias=bias, padding=padding
            ),
            dropout(dims, options.dropout),
            ConvNormAct(dims, hidden, hidden, 1, norm_kind=kind, bias=bias),
            dropout(dims, options.dropout),
        )
        self.score = conv(dims, hidden, out_channels, 1)
        skips = {32: (), 16: (-2,), 8: (-2, -3)}[options.stride]
        self.skips = nn.ModuleList(conv(dims, widths[at], out_channels, 1) for at in skips)
        draw_for_relu(self)
        for layer in (self.score, *self.skips):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        if self.faithful:
            return self._cut(image)
        full = padded(image, self.encoder.strides[-1])
        scores, skips = self._scored(full)
        for skip in skips:
            scores = skip + resized(scores, skip.shape[2:])
        return cropped(resized(scores, full.shape[2:]), image.shape[2:])

    def _scored(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The coarsest scores, and those of the finer features, coarse to fine."""
        features = self.encoder(image)
        finer = zip(self.skips, (features[-2], features[-3]), self.scales, strict=False)
        return self.score(self.classifier(features[-1])), [
            skip(one * scale) for skip, one, scale in finer
        ]

    def _cut(self, image: Tensor) -> Tensor:
        """The authors' way: a wide border, fixed transposed convolutions, and cuts."""
        scores, skips = self._scored(image)
        for skip, offset in zip(skips, _SKIP_OFFSETS, strict=False):
            raised = enlarged(scores, 2)
            scores = raised + _at(skip, offset, raised)
        return _at(enlarged(scores, self.stride), _OFFSETS[self.stride], image)


def _at(whole: Tensor, offset: int, like: Tensor) -> Tensor:
    """What lies in ``whole`` from the offset on, of the size of ``like``."""
    high, wide = like.shape[2:]
    return whole[:, :, offset : offset + high, offset : offset + wide]


def enlarged(scores: Tensor, stride: int) -> Tensor:
    """(B, K, X, Y) raised by a transposed convolution whose fixed kernel interpolates linearly."""
    labels, side = scores.shape[1], 2 * stride
    across = 1 - (torch.arange(side, device=scores.device) - (stride - 0.5)).abs() / stride
    kernel = (across[:, None] * across).to(scores.dtype).expand(labels, 1, side, side)
    return conv_transpose2d(scores, kernel, stride=stride, groups=labels)
