"""PointRend: logits made fine by predicting single points again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PointRend(Network):
    """Coarse logits, and a small network that predicts the least sure points anew.

    ``host`` is any network of the table; its logits are refined with one convolution of
    ``fine_channels`` channels at ``fine_stride`` as the fine map. Left out, it is the paper's:
    Semantic-FPN (``pyramid_channels``, ``head_channels``, group normalisation) on a ResNet of
    ``depth`` with ``base`` channels at first, whose logits are a quarter of the image's size;
    ``deep_stem`` begins it with three small convolutions instead of a large one. ``norm`` is
    that of the ResNet, or of the fine map.

    The point head has ``point_layers`` layers of ``point_channels``; with ``coarse_each_layer``
    each of them sees the coarse logits again. In training, ``points`` points are learnt with the
    weight ``point_weight``: the share ``important`` are the least sure of ``oversampling`` times
    as many, the others random. In inference the logits are doubled step by step and ``refined``
    voxels predicted anew in each. None: 2048 and 8192 in 2D, and 3 and 6 times the area of a
    face of the volume in 3D. ``doubt`` says whether labels exclude each other (the two best are
    compared) or are regions (the one nearest to even odds decides).
    """

    name: ClassVar[str] = "pointrend"
    paper: ClassVar[str] = "Kirillov et al. 2020, arXiv:1912.08193"
    good_for: ClassVar[str] = "sharp borders of organs where features of full size are too large"

    host: Network | None = None
    depth: Literal[18, 34, 50, 101, 152] = 50
    base: int = 64
    deep_stem: bool = False
    norm: Literal["batch", "instance", "group"] = "batch"
    pyramid_channels: int = 256
    head_channels: int = 128
    fine_channels: int = 32
    fine_stride: Literal[1, 2] = 1
    point_channels: int = 256
    point_layers: int = 3
    coarse_each_layer: bool = True
    points: int | None = None
    oversampling: float = 3.0
    important: float = 0.75
    refined: int | None = None
    point_weight: float = 1.0
    doubt: Literal["labels", "regions"] = "labels"

    def __post_init__(self) -> None:
        if self.host is not None and self.host.spatial_dims != self.spatial_dims:
            raise ValueError(
                f"host has {self.host.spatial_dims} dimensions, and pointrend {self.spatial_dims}"
            )
        for name in (
            *("base", "pyramid_channels", "head_channels", "fine_channels"),
            *("point_channels", "point_layers", "points", "refined"),
        ):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise ValueError(f"{name} is at least 1, not {found}")
        if self.oversampling < 1:
            raise ValueError(f"oversampling is at least 1, not {self.oversampling}")
        if not 0 <= self.important <= 1:
            raise ValueError(f"important is a share from 0 to 1, not {self.important}")
        if self.point_weight < 0:
            raise ValueError(f"point_weight is 0 or more, not {self.point_weight}")

    def without_download(self) -> Self:
        """The same, with a host that fetches nothing."""
        return self if self.host is None else replace(self, host=self.host.without_download())

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; the last layer of the point head begins near zero, as in the paper."""
        from medseg.models.nets.pointrend import PointRendNet, host_of

        return PointRendNet(self, host_of(self, in_channels, out_channels), out_channels)
