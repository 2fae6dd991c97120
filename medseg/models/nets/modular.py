"""The network that is put together from the parts of the others, n-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from torch import Tensor, nn

from medseg.models.encoders.mit import MiT, MiTForm
from medseg.models.encoders.resnet import ResNet
from medseg.models.encoders.stdc import STDCEncoder
from medseg.models.encoders.unet import ConvStyle, UNetEncoder, UNetForm
from medseg.models.fitting import cropped, padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import ConvNormAct, conv, dropout, resized
from medseg.models.modules.aspp import ASPP, Atrous
from medseg.models.modules.attention_field import AttentionField
from medseg.models.modules.bilateral_aggregation import BilateralAggregation
from medseg.models.modules.dense_aspp import DenseASPPModule
from medseg.models.modules.fusion import Fusion, TopDown
from medseg.models.modules.gcn import BoundaryRefinement, GlobalConvolution
from medseg.models.modules.point_rend import Rendered, Spread
from medseg.models.modules.ppm import PyramidPooling
from medseg.models.modules.psa import PointwiseSpatialAttention
from medseg.models.nets.pointrend import PointRendNet
from medseg.models.pointrend import PointRend

if TYPE_CHECKING:
    from medseg.models.modular import Modular
    from medseg.models.nets.on_encoder import Encoder


def modular(options: Modular, in_channels: int, out_channels: int) -> nn.Module:
    """The module; it takes (B, C, *space)."""
    trunk = Trunk(options, in_channels, out_channels)
    if options.head == "plain":
        return Plain(trunk)
    if options.head == "attention_field":
        return Field(trunk, options, out_channels)
    refined = PointRend(spatial_dims=options.spatial_dims, point_channels=options.width)
    return PointRendNet(refined, Rendering(trunk, options.width), out_channels)


class Trunk(nn.Module):
    """Encoder, context and fusion; logits by one convolution on the finest fused grid."""

    encoder: Encoder

    def __init__(self, options: Modular, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims, width, kind = options.spatial_dims, options.width, options.norm
        self.encoder = encoder_of(options, in_channels)
        *finer, coarsest = self.encoder.channels
        # The transformer's stages may need more than its strides.
        self.multiples = getattr(self.encoder, "multiples", self.encoder.strides[-1])
        self.context = context_of(options, coarsest)
        self.once = options.fusion == "bga"
        self.fusion: nn.Module
        if self.once:
            last = (options.steps[-2], options.steps[-1])
            self.lateral = ConvNormAct(dims, finer[-2], width, 1, norm_kind=kind)
            self.fusion = BilateralAggregation(dims, width, last, kind)
        else:
            factors = options.steps[len(options.steps) - len(finer) :]
            form = cast(Fusion, options.fusion)
            self.fusion = TopDown(dims, finer, factors, width, form, kind)
        self.dropout = dropout(dims, options.dropout)
        self.classifier = conv(dims, width, out_channels, 1)

    def forward(self, full: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A padded image to logits, the fused map they are of, and the context."""
        *finer, coarsest = self.encoder(full)
        context = self.context(coarsest)
        if self.once:
            fused = self.fusion(self.lateral(finer[-2]), context)
        else:
            fused = self.fusion([*finer, context])
        return self.classifier(self.dropout(fused)), fused, context


class Plain(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.trunk.multiples)
        logits, _, _ = self.trunk(full)
        return cropped(resized(logits, full.shape[2:]), image.shape[2:])


class Rendering(nn.Module):
    """The trunk as PointRend wants its host."""

    def __init__(self, trunk: Trunk, width: int) -> None:
        super().__init__()
        self.trunk, self.fine_channels = trunk, width

    def forward(self, image: Tensor) -> Rendered:
        """Coarse logits, the fused map and, in training, the resized logits."""
        full = padded(image, self.trunk.multiples)
        field = tuple(full.shape[2:])
        logits, fused, _ = self.trunk(full)
        heads: Heads = []
        if self.training:
            heads = [Head(cropped(resized(logits, field), image.shape[2:]))]
        return Rendered(Spread(logits, field), Spread(fused, field), heads)


class Field(nn.Module):
    """An attention field on the context, its points told by the fused map.

    While training the trunk's own logits are supervised beside it.
    """

    def __init__(self, trunk: Trunk, options: Modular, out_channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.field = AttentionField(
            options.spatial_dims,
            options.width,
            out_channels,
            hidden=options.width,
            blocks=2,
            conditions=options.width,
        )

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` to logits (B, K, *space), or while training to heads."""
        full = padded(image, self.trunk.multiples)
        space, whole = image.shape[2:], tuple(full.shape[2:])
        logits, fused, context = self.trunk(full)
        said = self.field(Spread(context, whole), space, Spread(fused, whole))
        if isinstance(said, Tensor):
            return said
        return [Head(cropped(resized(logits, whole), space)), *said]


def encoder_of(options: Modular, in_channels: int) -> Encoder:
    """The encoder with fresh weights."""
    dims, first, steps = options.spatial_dims, options.first, options.steps
    if options.encoder == "stdc1":
        return STDCEncoder(dims, in_channels, base=first, strides=steps, norm_kind=options.norm)
    if options.encoder == "unet":
        ones = (1,) * dims
        form = UNetForm(
            widths=[first * 2**level for level in range(5)],
            strides=[ones, *steps],
            kernels=[(3,) * dims] * 5,
            blocks=[2] * 5,
            style=ConvStyle(options.norm),
        )
        return UNetEncoder(dims, in_channels, form)
    if options.encoder == "mit_b0":
        return _mit(options, in_channels)
    depth: Literal[18, 50] = 18 if options.encoder == "resnet18" else 50
    return ResNet(dims, in_channels, depth, base=first, norm=options.norm, stage_strides=steps)


def _mit(options: Modular, in_channels: int) -> MiT:
    """SegFormer's smallest; in 3D keys are half as coarse along each axis."""
    dims = options.spatial_dims
    reductions = (8, 4, 2, 1) if dims == 2 else (4, 2, 1, 1)
    form = MiTForm(
        widths=[options.first * times for times in (1, 2, 5, 8)],
        depths=(2, 2, 2, 2),
        heads=(1, 2, 5, 8),
        strides=options.steps,
        reductions=[(one,) * dims for one in reductions],
    )
    return MiT(dims, in_channels, form)


def context_of(options: Modular, inputs: int) -> nn.Module:
    """The coarsest features (B, inputs, *space) to (B, width, *space)."""
    dims, width, kind = options.spatial_dims, options.width, options.norm
    if options.context == "none":
        return ConvNormAct(dims, inputs, width, 1, norm_kind=kind)
    if options.context == "aspp":
        return ASPP(dims, inputs, width, Atrous(options.rates or (2, 4, 6), norm=kind))
    if options.context == "gcn":
        large = GlobalConvolution(dims, inputs, width, options.kernel or 7)
        return nn.Sequential(large, BoundaryRefinement(dims, width))
    seen: PyramidPooling | DenseASPPModule | PointwiseSpatialAttention
    if options.context == "ppm":
        seen = PyramidPooling(dims, inputs, bins=options.bins or (1, 2, 3, 6), norm_kind=kind)
    elif options.context == "dense_aspp":
        rates = options.rates or (2, 4, 6)
        seen = DenseASPPModule(dims, inputs, width, width // 2, rates, norm_kind=kind)
    else:
        mask = (options.mask or (31 if dims == 2 else 11),) * dims
        seen = PointwiseSpatialAttention(dims, inputs, width, mask, norm_kind=kind)
    return nn.Sequential(seen, ConvNormAct(dims, seen.channels, width, 1, norm_kind=kind))
