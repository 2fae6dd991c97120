"""MONAI's SegResNet behind a typed name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SegResNet(Network):
    """A large residual encoder and a small decoder, both with group normalisation.

    ``width`` is the channels of the finest level, a multiple of 8; they double from level to
    level. ``blocks_down`` has the residual blocks of each level going down, ``blocks_up`` those
    going up, one entry fewer. ``dropout`` is the share of channels left out after the first
    convolution. The paper's autoencoder branch, which only helps while training, is not built.
    """

    name: ClassVar[str] = "segresnet"
    paper: ClassVar[str] = "Myronenko 2018, arXiv:1810.11654"
    good_for: ClassVar[str] = "tumours in MRI and organs in CT; light and quick at a small width"

    width: int = 32
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width is a multiple of 8, not {self.width}")
        if len(self.blocks_down) < 2 or min(self.blocks_down) < 1:
            raise ValueError(
                f"blocks_down has two levels or more of at least 1, not {self.blocks_down}"
            )
        if len(self.blocks_up) != len(self.blocks_down) - 1 or min(self.blocks_up) < 1:
            raise ValueError(
                f"blocks_up has {len(self.blocks_down) - 1} entries above 0, one fewer than"
                f" blocks_down, not {self.blocks_up}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with MONAI's first weights."""
        from monai.networks.nets import SegResNet as MonaiSegResNet

        from medseg.models.nets.monai import Fitted

        network = MonaiSegResNet(
            spatial_dims=self.spatial_dims,
            init_filters=self.width,
            in_channels=in_channels,
            out_channels=out_channels,
            dropout_prob=self.dropout or None,
            blocks_down=self.blocks_down,
            blocks_up=self.blocks_up,
        )
        return Fitted(network, (2 ** len(self.blocks_up),) * self.spatial_dims)
