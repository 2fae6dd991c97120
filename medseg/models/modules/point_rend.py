"""Points that are predicted one by one where coarse logits are least sure.

PointRend, Kirillov et al. 2020, arXiv:1912.08193. Points (B, N, dims) are those of
``medseg.models.heads.PointHead``: the last axis first, from -1 to 1 over the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from medseg.models.fitting import cropped
from medseg.models.heads import Heads
from medseg.models.layers import conv, resized

Doubt: TypeAlias = Literal["labels", "regions"]


class Spread(NamedTuple):
    """A map (B, C, *grid) over a field: the image's space with what was padded to its far ends."""

    data: Tensor
    field: tuple[int, ...]


class Rendered(NamedTuple):
    """What a host gives: coarse logits, a finer map, and its own heads while it trains."""

    coarse: Spread
    fine: Spread
    heads: Heads


class PointHost(Protocol):
    """A module that PointRend refines."""

    fine_channels: int

    def __call__(self, image: Tensor) -> Rendered:
        """Logits and features of ``image (B, C, *space)``."""


class PointMLP(nn.Module):
    """The same small network at every point: fine features and coarse logits to logits.

    ``coarse_each_layer`` appends the coarse logits to the input of every layer, not only the
    first.
    """

    def __init__(
        self,
        fine_channels: int,
        labels: int,
        channels: int = 256,
        layers: int = 3,
        *,
        coarse_each_layer: bool = True,
    ) -> None:
        super().__init__()
        self.coarse_each_layer = coarse_each_layer
        again = labels if coarse_each_layer else 0
        inputs = [fine_channels + labels, *(channels + again for _ in range(layers - 1))]
        self.layers = nn.ModuleList(conv(1, one, channels, 1) for one in inputs)
        self.predictor = nn.Conv1d(channels + again, labels, 1)
        for layer in self.layers:
            nn.init.kaiming_normal_(cast(Tensor, layer.weight), mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(cast(Tensor, self.predictor.bias))

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Logits (B, K, N) from ``fine (B, C, N)`` and ``coarse (B, K, N)``."""
        features = torch.cat([fine, coarse], 1)
        for layer in self.layers:
            features = layer(features).relu()
            if self.coarse_each_layer:
                features = torch.cat([features, coarse], 1)
        logits: Tensor = self.predictor(features)
        return logits


def inner(points: Tensor, space: Sequence[int], field: Sequence[int]) -> Tensor:
    """Points of an image of ``space`` as points of the field it was padded to."""
    share = [side / whole for side, whole in zip(space, field, strict=True)]
    return (points + 1) * points.new_tensor(share[::-1]) - 1


def sampled(one: Spread, points: Tensor, space: Sequence[int]) -> Tensor:
    """The map's values (B, C, N), linearly interpolated at points of an image of ``space``."""
    batch, count, dims = points.shape
    places = inner(points, space, one.field).reshape(batch, count, *(1,) * (dims - 1), dims)
    data = one.data.float()
    found = grid_sample(data, places.float(), padding_mode="border", align_corners=False)
    return found.flatten(2)


def doubt(logits: Tensor, kind: Doubt = "labels") -> Tensor:
    """How unsure logits (B, K, ...) are, (B, ...); the higher, the less sure.

    ``labels`` exclude each other: the second best less the best. ``regions`` do not: the one
    nearest to 0 decides.
    """
    if kind == "regions" or logits.shape[1] == 1:
        return -logits.abs().amin(1)
    best = logits.topk(2, dim=1).values
    return best[:, 1] - best[:, 0]


class Drawn(NamedTuple):
    """How training points are drawn: ``important`` of ``number`` are the least sure of
    ``oversampling`` times as many random ones, the rest are random.
    """

    number: int
    oversampling: float = 3.0
    important: float = 0.75
    kind: Doubt = "labels"


@torch.no_grad()
def training_points(coarse: Spread, space: Sequence[int], drawn: Drawn) -> Tensor:
    """Points (B, N, dims) to learn from, most of them where the coarse logits are unsure."""
    batch, dims = len(coarse.data), len(space)
    device = coarse.data.device
    keep = int(drawn.important * drawn.number)
    tried = torch.rand(
        batch, max(keep, int(drawn.oversampling * drawn.number)), dims, device=device
    )
    tried = 2 * tried - 1
    order = doubt(sampled(coarse, tried, space), drawn.kind).topk(keep, dim=1).indices
    unsure = tried.gather(1, order[..., None].expand(-1, -1, dims))
    anywhere = torch.rand(batch, drawn.number - keep, dims, device=device)
    return torch.cat([unsure, 2 * anywhere - 1], 1)


def subdivided(
    predict: Callable[[Tensor], Tensor],
    coarse: Spread,
    space: Sequence[int],
    count: Callable[[Sequence[int]], int],
    kind: Doubt = "labels",
) -> Tensor:
    """Logits (B, K, *space): doubled step by step, the least sure voxels predicted anew.

    ``predict`` gives the logits (B, K, N) of points, ``count`` how many of a grid of that size
    are to be predicted. Logits that are on the image's own grid already are refined once.
    """
    logits = coarse.data.float()
    for size in _doubling(logits.shape[2:], coarse.field):
        logits = resized(logits, size)
        inner = [ceil(s * n / f) for s, n, f in zip(size, space, coarse.field, strict=True)]
        known = doubt(cropped(logits, inner), kind).flatten(1)
        places = _unravelled(known.topk(min(count(inner), known.shape[1])).indices, inner)
        said = predict(_centres(places, size, coarse.field, space)).to(logits.dtype)
        index = _ravelled(places, size)[:, None].expand_as(said)
        logits = logits.flatten(2).scatter(2, index, said).reshape(*logits.shape[:2], *size)
    return cropped(resized(logits, coarse.field), space)


def _doubling(start: Sequence[int], field: Sequence[int]) -> list[tuple[int, ...]]:
    """The sizes from twice the start to the field itself; the field alone where that is all."""
    sizes, size = [], tuple(start)
    while size != tuple(field):
        size = tuple(min(2 * side, whole) for side, whole in zip(size, field, strict=True))
        sizes.append(size)
    return sizes or [tuple(field)]


def _unravelled(index: Tensor, size: Sequence[int]) -> Tensor:
    """Places (B, N, dims) of flat indices (B, N) into a grid."""
    steps = [prod(size[axis + 1 :]) for axis in range(len(size))]
    places = [index // step % side for step, side in zip(steps, size, strict=True)]
    return torch.stack(places, -1)


def _ravelled(places: Tensor, size: Sequence[int]) -> Tensor:
    steps = [prod(size[axis + 1 :]) for axis in range(len(size))]
    return (places * places.new_tensor(steps)).sum(-1)


def _centres(
    places: Tensor, size: Sequence[int], field: Sequence[int], space: Sequence[int]
) -> Tensor:
    """The centres of a grid's voxels as points of the image."""
    over = [f / (n * s) for f, n, s in zip(field, space, size, strict=True)]
    scale = torch.tensor(over, dtype=torch.float32, device=places.device)
    return ((2 * places + 1) * scale - 1).flip(-1)
