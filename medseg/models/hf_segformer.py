"""SegFormer of Hugging Face's transformers, with weights that may know pictures already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from medseg.models.network import Dims, Network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class HFSegFormer(Network):
    """SegFormer of the package transformers; needs the extra ``medseg[pretrained]``.

    ``size`` is the paper's. ``pretrained`` is a name on the Hugging Face hub, such as
    ``nvidia/segformer-b0-finetuned-ade-512-512``, which is downloaded when training begins, or
    a local folder; its size must be ``size``. Left out, weights are fresh. The filters of the
    first layer are shared out among the channels where these are not three, and the last layer
    is fresh where the labels are others. Mind the licence of the weights: NVIDIA's allow no
    commercial use.
    """

    name: ClassVar[str] = "hf_segformer"
    paper: ClassVar[str] = "Xie et al. 2021, arXiv:2105.15203"
    good_for: ClassVar[str] = "2D with little data: weights trained on photographs"
    dims: ClassVar[tuple[int, ...]] = (2,)

    spatial_dims: Dims = 2
    size: Literal["b0", "b1", "b2", "b3", "b4", "b5"] = "b0"
    pretrained: str | None = None

    def __post_init__(self) -> None:
        if self.spatial_dims != 2:
            raise ValueError(f"spatial_dims is 2 for this network, not {self.spatial_dims}")

    def without_download(self) -> Self:
        """The same network with fresh weights, for weights that come from elsewhere."""
        return replace(self, pretrained=None)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; raises ModelError where the package or the weights are not there."""
        from medseg.models.nets.hf_segformer import HFSegFormerNet

        return HFSegFormerNet(self, in_channels, out_channels)
