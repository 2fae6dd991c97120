"""Networks of segmentation_models_pytorch, with encoders that may know pictures already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from medseg.errors import ModelError
from medseg.models.extras import from_extra
from medseg.models.network import Dims, Network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SMP(Network):
    """A network of segmentation_models_pytorch; needs the extra ``medseg[pretrained]``.

    ``architecture`` is the decoder and ``encoder`` what comes before it, by the package's names,
    such as ``resnet34`` or ``mit_b2``. ``pretrained`` names weights of the encoder, such as
    ``imagenet``, which are downloaded when training begins; left out, nothing is. While training,
    ``deeplabv3``, ``deeplabv3plus``, ``pan`` and ``upernet`` want two samples or more a batch.
    """

    name: ClassVar[str] = "smp"
    paper: ClassVar[str] = "Iakubovskii 2019, github.com/qubvel-org/segmentation_models.pytorch"
    good_for: ClassVar[str] = "2D with little data: encoders trained on photographs"
    dims: ClassVar[tuple[int, ...]] = (2,)

    spatial_dims: Dims = 2
    architecture: Literal[
        "unet",
        "unetplusplus",
        "manet",
        "linknet",
        "fpn",
        "pspnet",
        "deeplabv3",
        "deeplabv3plus",
        "pan",
        "upernet",
        "segformer",
    ] = "unet"
    encoder: str = "resnet34"
    pretrained: str | None = None

    def __post_init__(self) -> None:
        if self.spatial_dims != 2:
            raise ValueError(f"spatial_dims is 2 for this network, not {self.spatial_dims}")

    def without_download(self) -> Self:
        """The same network with fresh weights, for weights that come from elsewhere."""
        return replace(self, pretrained=None)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; raises ModelError E_CONFIG where the package or its encoder is not there."""
        [create_model] = from_extra(self.name, "segmentation_models_pytorch", "create_model")

        from medseg.models.nets.monai import Fitted

        try:
            network = create_model(
                self.architecture,
                encoder_name=self.encoder,
                encoder_weights=self.pretrained,
                in_channels=in_channels,
                classes=out_channels,
            )
        except (KeyError, ValueError, OSError) as error:
            raise ModelError(
                "E_CONFIG",
                f"network 'smp' cannot have the encoder '{self.encoder}' with the weights"
                f" {self.pretrained} under {self.architecture}: {error}",
            ) from error
        # PAN halves three times more than the others.
        side = 128 if self.architecture == "pan" else 32
        return Fitted(network, (side, side))
