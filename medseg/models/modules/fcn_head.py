"""The head of a fully convolutional network on one map: a convolution, then the labels."""

from __future__ import annotations

from torch import nn

from medseg.models.layers import ConvNormAct, NormKind, conv


class FCNHead(nn.Sequential):
    """(B, C, *space) to logits (B, K, *space) by a 3x3 and a 1x1 convolution."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        channels: int,
        labels: int,
        *,
        norm_kind: NormKind = "batch",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.add_module("conv", ConvNormAct(dims, inputs, channels, 3, norm_kind=norm_kind))
        self.add_module("dropout", nn.Dropout(dropout))
        self.add_module("classifier", conv(dims, channels, labels, 1))
