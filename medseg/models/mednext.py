"""MONAI's MedNeXt behind a typed name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "s": ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    "b": ((2, 3, 4, 4, 4), (2, 2, 2, 2, 2)),
    "m": ((2, 3, 4, 4, 4), (3, 4, 4, 4, 4)),
    "l": ((3, 4, 8, 8, 8), (3, 4, 8, 8, 8)),
}
"""Size to expansions and blocks of each level, the last the bottleneck; up mirrors down."""


@dataclass(frozen=True)
class MedNeXt(Network):
    """U-Net of ConvNeXt blocks with large depthwise kernels.

    ``size`` is the paper's: ``s``, ``b``, ``m`` or ``l``. ``width`` is the channels of the
    finest level; they double at each of four halvings. ``kernel`` is the side of the depthwise
    convolutions, 3 or 5 in the paper. ``deep_supervision`` supervises every level while
    training.
    """

    name: ClassVar[str] = "mednext"
    paper: ClassVar[str] = "Roy et al. 2023, doi:10.1007/978-3-031-43901-8_39"
    good_for: ClassVar[str] = "organs and tumours in 3D where a strong U-Net is wanted"

    size: Literal["s", "b", "m", "l"] = "s"
    width: int = 32
    kernel: Literal[3, 5, 7] = 3
    deep_supervision: bool = True

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is at least 1, not {self.width}")

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with MONAI's first weights."""
        from monai.networks.nets import MedNeXt as MonaiMedNeXt

        from medseg.models.nets.monai import Fitted

        (*expansions, widest), (*blocks, lowest) = _SIZES[self.size]
        network = MonaiMedNeXt(
            spatial_dims=self.spatial_dims,
            init_filters=self.width,
            in_channels=in_channels,
            out_channels=out_channels,
            encoder_expansion_ratio=expansions,
            decoder_expansion_ratio=expansions[::-1],
            bottleneck_expansion_ratio=widest,
            kernel_size=self.kernel,
            deep_supervision=self.deep_supervision,
            use_residual_connection=True,
            blocks_down=blocks,
            blocks_bottleneck=lowest,
            blocks_up=blocks[::-1],
        )
        return Fitted(network, (16,) * self.spatial_dims)
