"""DeepLab v1: VGG-16 without its last two halvings, dilated instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Axes, Entries, check_rates, strides_by_axis

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DeepLabV1(Network):
    """VGG-16 with two dilated stages; its classifier sees far by a rate instead of a large kernel.

    ``field`` is the classifier: ``large`` (LargeFOV) has taps ``rate`` voxels apart (left out: 12
    in 2D, 4 in 3D, and no more than the features allow), ``original`` four by four of them 4
    apart. ``multi_scale`` adds what small branches on the image and behind the first four
    poolings say (MSc). ``base`` are the first stage's channels and ``hidden_channels`` the
    classifier's (left out: the paper's 64, and 1024 or 4096, in 2D; 32 and 256 in 3D).
    ``strides`` are those of the five poolings, a number or one number an axis, by default 2, 2,
    2, 1, 1. ``norm`` none is the paper's; from fresh weights ``batch`` learns sooner. ``dropout``
    is the share of channels left out in the classifier. The paper sharpens what comes out by a
    dense CRF: the step ``dense_crf`` of ``refine``.
    """

    name: ClassVar[str] = "deeplab_v1"
    paper: ClassVar[str] = "Chen et al. 2015, arXiv:1412.7062"
    good_for: ClassVar[str] = "a baseline of 2015 to compare with, best before a dense CRF"

    field: Literal["large", "original"] = "large"
    multi_scale: bool = False
    rate: int | tuple[int, ...] | None = None
    base: int | None = None
    hidden_channels: int | None = None
    strides: Entries | None = (2, 2, 2, 1, 1)
    norm: Literal["none", "batch", "instance", "group"] = "none"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("base", "hidden_channels"):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise ValueError(f"{name} is at least 1, not {found}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        check_rates((self.reach,), self.spatial_dims)
        _ = self.steps

    @property
    def reach(self) -> int | tuple[int, ...]:
        """The rate of the large field's classifier."""
        return self.rate or (12 if self.spatial_dims == 2 else 4)

    @property
    def steps(self) -> tuple[Axes, ...]:
        """The strides of the five poolings along each axis."""
        return strides_by_axis(self.strides, self.spatial_dims, 5)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.deeplab_v1 import DeepLabV1Net

        return DeepLabV1Net(self, in_channels, out_channels)
