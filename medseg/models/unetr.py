"""MONAI's UNETR behind a typed name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

_SIDES = {2: 224, 3: 96}


@dataclass(frozen=True)
class UNETR(Network):
    """A Vision Transformer on patches of 16, whose layers a U-Net's decoder joins.

    ``image_size`` is the side of the images that the position table is made for, as a number or
    one number an axis; left out it is 96 in 3D and 224 in 2D, and for other sizes the table is
    interpolated. ``width`` is the channels of the finest level, ``hidden_width`` the numbers a
    token has and ``attention_heads`` who share them. ``norm`` is the normalisation of the
    convolutions; ``dropout`` the share of tokens' numbers left out.
    """

    name: ClassVar[str] = "unetr"
    paper: ClassVar[str] = "Hatamizadeh et al. 2022, doi:10.1109/WACV51458.2022.00181"
    good_for: ClassVar[str] = "many organs in CT with much data; with little a U-Net does better"
    patch: ClassVar[int] = 16

    image_size: int | tuple[int, ...] | None = None
    width: int = 16
    hidden_width: int = 768
    attention_heads: int = 12
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sides = self._sides
        if len(sides) != self.spatial_dims or min(sides) < 1:
            raise ValueError(
                f"image_size is a number above 0 or {self.spatial_dims} of them, not {sides}"
            )
        if self.width < 1:
            raise ValueError(f"width is at least 1, not {self.width}")
        if self.attention_heads < 1 or self.hidden_width % self.attention_heads:
            raise ValueError(
                f"attention_heads share the hidden width evenly; {self.hidden_width} is no"
                f" multiple of {self.attention_heads}"
            )
        if self.hidden_width < 1:
            raise ValueError(f"hidden_width is at least 1, not {self.hidden_width}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")

    @property
    def _sides(self) -> tuple[int, ...]:
        side = _SIDES[self.spatial_dims] if self.image_size is None else self.image_size
        return (side,) * self.spatial_dims if isinstance(side, int) else side

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of patches that positions are learned on."""
        return tuple(-(-side // self.patch) for side in self._sides)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with MONAI's first weights."""
        from medseg.models.nets.unetr import UNETRNet

        return UNETRNet(self, in_channels, out_channels)
