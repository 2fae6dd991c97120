"""DynUNet, MONAI's form of the U-Net that nnU-Net configures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DynUNet(Network):
    """U-Net with strided convolutions, one width a level; strides may differ by axis.

    ``strides`` has one entry between two levels, each a number or one number an axis; 2 where
    it is left out. ``kernels`` has one entry a level; 3 where it is left out.
    """

    name: ClassVar[str] = "dynunet"
    paper: ClassVar[str] = "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
    good_for: ClassVar[str] = "the default: organs and tumours, CT and MRI, small data sets"

    widths: tuple[int, ...] = (32, 64, 128, 256, 320)
    strides: tuple[int | tuple[int, ...], ...] | None = None
    kernels: tuple[int | tuple[int, ...], ...] | None = None
    norm: Literal["instance", "batch"] = "instance"
    residual: bool = False
    dropout: float = 0.0
    deep_supervision: int = 0

    def __post_init__(self) -> None:
        levels = len(self.widths)
        if levels < 3 or min(self.widths) < 1:
            raise ValueError(f"widths needs three levels or more of at least 1, not {self.widths}")
        if self.strides is not None and len(self.strides) != levels - 1:
            raise ValueError(
                f"strides has one entry between two levels: {levels - 1}, not {len(self.strides)}"
            )
        if self.kernels is not None and len(self.kernels) != levels:
            raise ValueError(f"kernels has one entry a level: {levels}, not {len(self.kernels)}")
        self._by_axis(self.strides or ())
        self._by_axis(self.kernels or ())
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        if not 0 <= self.deep_supervision <= levels - 2:
            raise ValueError(
                f"deep_supervision counts heads below the top, at most {levels - 2}"
                f" for {levels} levels, not {self.deep_supervision}"
            )

    def _by_axis(self, entries: Sequence[int | tuple[int, ...]]) -> list[tuple[int, ...]]:
        axes = [(e,) * self.spatial_dims if isinstance(e, int) else tuple(e) for e in entries]
        for one in axes:
            if len(one) != self.spatial_dims or min(one) < 1:
                raise ValueError(
                    f"strides and kernels are a number above 0 or {self.spatial_dims} of them,"
                    f" not {one}"
                )
        return axes

    @property
    def axis_strides(self) -> list[tuple[int, ...]]:
        """One a level, the first of 1, a number an axis."""
        return self._by_axis((1, *(self.strides or (2,) * (len(self.widths) - 1))))

    @property
    def axis_kernels(self) -> list[tuple[int, ...]]:
        """One a level, a number an axis."""
        return self._by_axis(self.kernels or (3,) * len(self.widths))

    @property
    def plain(self) -> DynUNet:
        """The same without residual blocks."""
        return replace(self, residual=False)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; weights are drawn as nnU-Net draws them."""
        from medseg.models.nets.dynunet import DynUNetNet

        return DynUNetNet(self, in_channels, out_channels)
