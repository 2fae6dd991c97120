"""PointRend: a host's coarse logits, made fine by points."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from medseg.models.encoders.resnet import ResNet
from medseg.models.fitting import cropped, padded
from medseg.models.heads import Head, Heads, PointHead
from medseg.models.layers import ConvNormAct, resized
from medseg.models.modules.point_rend import (
    Drawn,
    PointHost,
    PointMLP,
    Rendered,
    Spread,
    sampled,
    subdivided,
    training_points,
)
from medseg.models.modules.semantic_fpn import FeaturePyramid, SemanticHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medseg.models.network import Network
    from medseg.models.pointrend import PointRend


class SemanticFPN(nn.Module):
    """The paper's host: Semantic-FPN on a ResNet; logits and fine map at a quarter of the size."""

    def __init__(self, options: PointRend, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims = options.spatial_dims
        base, kind = options.base, options.norm
        self.encoder = ResNet(
            dims,
            in_channels,
            options.depth,
            base=base,
            norm=kind,
            deep_stem=options.deep_stem,
            stem_base=max(1, base // 2),
        )
        self.fine_channels = options.pyramid_channels
        levels = self.encoder.channels[1:]
        self.neck = FeaturePyramid(dims, levels, options.pyramid_channels)
        self.head = SemanticHead(
            dims, options.pyramid_channels, out_channels, len(levels), options.head_channels
        )

    def forward(self, image: Tensor) -> Rendered:
        """Coarse logits, the pyramid's finest level and, in training, the resized logits."""
        whole = padded(image, self.encoder.strides[-1])
        field = tuple(whole.shape[2:])
        pyramid = self.neck(self.encoder(whole)[1:])
        coarse = self.head(pyramid)
        heads: Heads = []
        if self.training:
            heads = [Head(cropped(resized(coarse, field), image.shape[2:]))]
        return Rendered(Spread(coarse, field), Spread(pyramid[0], field), heads)


class AnyHost(nn.Module):
    """Any network of the table: its logits as the coarse ones, one convolution as the fine map."""

    def __init__(
        self, host: Network, options: PointRend, in_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        dims, self.stride = options.spatial_dims, options.fine_stride
        self.network = host(in_channels, out_channels)
        self.fine_channels = options.fine_channels
        self.fine = ConvNormAct(
            dims, in_channels, self.fine_channels, stride=self.stride, norm_kind=options.norm
        )

    def forward(self, image: Tensor) -> Rendered:
        """The host's logits and heads as they are, and the fine map."""
        space = tuple(image.shape[2:])
        said = self.network(image)
        heads: Heads = [Head(said)] if isinstance(said, Tensor) else said
        whole = padded(image, (self.stride,) * len(space))
        fine = Spread(self.fine(whole), tuple(whole.shape[2:]))
        return Rendered(Spread(cast(Head, heads[0]).logits, space), fine, heads)


def host_of(options: PointRend, in_channels: int, out_channels: int) -> PointHost:
    """The module that is refined."""
    if options.host is None:
        return SemanticFPN(options, in_channels, out_channels)
    return AnyHost(options.host, options, in_channels, out_channels)


class PointRendNet(nn.Module):
    """The host and the point head."""

    host: PointHost

    def __init__(self, options: PointRend, host: PointHost, out_channels: int) -> None:
        super().__init__()
        self.options, self.host = options, host
        self.points = PointMLP(
            host.fine_channels,
            out_channels,
            options.point_channels,
            options.point_layers,
            coarse_each_layer=options.coarse_each_layer,
        )

    def forward(self, image: Tensor) -> Tensor | Heads:
        """Logits (B, K, *space); in training the host's heads and the points' one."""
        space, options = image.shape[2:], self.options
        rendered = self.host(image)

        def predict(points: Tensor) -> Tensor:
            fine = sampled(rendered.fine, points, space)
            said: Tensor = self.points(fine, sampled(rendered.coarse, points, space))
            return said

        if not self.training:
            return subdivided(predict, rendered.coarse, space, self._refined, options.doubt)
        count = options.points or _surface(space, 2048, 3)
        drawn = Drawn(count, options.oversampling, options.important, options.doubt)
        points = training_points(rendered.coarse, space, drawn)
        return [*rendered.heads, PointHead(predict(points), points, options.point_weight)]

    def _refined(self, size: Sequence[int]) -> int:
        return self.options.refined or _surface(size, 8192, 6)


def _surface(space: Sequence[int], flat: int, faces: int) -> int:
    """``flat`` points of a slice; in 3D that many faces of a cube of the volume's size."""
    return flat if len(space) == 2 else max(1, round(faces * prod(space) ** (2 / 3)))
