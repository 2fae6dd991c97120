"""MONAI's AttentionUnet behind a typed name."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

_WIDTHS = {2: (64, 128, 256, 512, 1024), 3: (16, 32, 64, 128, 256)}


@dataclass(frozen=True)
class AttentionUNet(Network):
    """U-Net whose skips pass through gates: the coarser level says where to look.

    ``widths`` is the channels of each level; left out it is 64 to 1024 in 2D and 16 to 256 in
    3D. ``strides`` has one entry between two levels, each a number or one number an axis; 2
    where it is left out. ``dropout`` is the share of numbers left out after a convolution.
    """

    name: ClassVar[str] = "attention_unet"
    paper: ClassVar[str] = "Oktay et al. 2018, arXiv:1804.03999"
    good_for: ClassVar[str] = "small organs that move about, such as the pancreas"

    widths: tuple[int, ...] | None = None
    strides: tuple[int | tuple[int, ...], ...] | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or min(self.levels) < 2:
            raise ValueError(f"widths needs two levels or more of at least 2, not {self.widths}")
        if len(self.steps) != len(self.levels) - 1:
            raise ValueError(
                f"strides has one entry between two levels: {len(self.levels) - 1},"
                f" not {len(self.steps)}"
            )
        for step in self.steps:
            if len(step) != self.spatial_dims or min(step) < 1:
                raise ValueError(
                    f"strides are a number above 0 or {self.spatial_dims} of them, not {step}"
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")

    @property
    def levels(self) -> tuple[int, ...]:
        """The channels of each level."""
        return self.widths or _WIDTHS[self.spatial_dims]

    @property
    def steps(self) -> list[tuple[int, ...]]:
        """The stride between two levels, one number an axis."""
        strides = self.strides or (2,) * (len(self.levels) - 1)
        return [(s,) * self.spatial_dims if isinstance(s, int) else s for s in strides]

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with MONAI's first weights."""
        from monai.networks.nets import AttentionUnet as MonaiAttentionUnet

        from medseg.models.nets.monai import Fitted

        network = MonaiAttentionUnet(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=self.levels,
            strides=self.steps,
            dropout=self.dropout,
        )
        return Fitted(network, [prod(axis) for axis in zip(*self.steps, strict=True)])
