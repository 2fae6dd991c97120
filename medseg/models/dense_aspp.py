"""DenseASPP: a DenseNet and dilated convolutions that build on each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Entries, check_rates, strides_by_axis

if TYPE_CHECKING:
    from torch import nn

# Growth, layers a block, and the pyramid's channels within and of each unit.
_TRUNKS: dict[int, tuple[int, tuple[int, ...], int, int]] = {
    121: (32, (6, 12, 24, 16), 128, 64),
    161: (48, (6, 12, 36, 24), 512, 128),
}


@dataclass(frozen=True)
class DenseASPP(Network):
    """A dilated DenseNet, then convolutions of growing rates, each seeing all those before it.

    ``trunk`` is the DenseNet, and ``growth`` the channels that each of its layers adds (left out:
    32 for 121 and 48 for 161 in 2D, half of that in 3D); all other widths follow. ``blocks``
    are its layers in each of four blocks (left out: the trunk's). ``strides`` are those of the
    stem, of the pooling behind it and of the three between the blocks, a number or one number an
    axis; blocks beyond ``output_stride`` keep their grid and are dilated instead, and at 16 or 32
    the pyramid works on a grid twice as fine. ``rates`` are
    how far apart the taps of the pyramid are (left out: 3, 6, 12, 18, 24 in 2D; 1, 2, 3, 4 in
    3D); with ``clamp`` a rate is never larger than the features along that axis allow. ``norm``
    is the normalisation, ``dropout`` the share of channels left out behind each unit and before
    the labels.
    """

    name: ClassVar[str] = "dense_aspp"
    paper: ClassVar[str] = "Yang et al. 2018, CVPR, doi:10.1109/CVPR.2018.00388"
    good_for: ClassVar[str] = "structures of many sizes side by side, where memory allows"

    trunk: Literal[121, 161] = 121
    growth: int | None = None
    blocks: tuple[int, int, int, int] | None = None
    output_stride: Literal[8, 16, 32] = 8
    strides: Entries | None = None
    rates: Entries | None = None
    clamp: bool = True
    norm: Literal["batch", "instance", "group"] = "batch"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.growth is not None and self.growth < 1:
            raise ValueError(f"growth is at least 1, not {self.growth}")
        if self.blocks is not None and (len(self.blocks) != 4 or min(self.blocks) < 1):
            raise ValueError(f"blocks are four numbers above 0, not {self.blocks}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        strides_by_axis(self.strides, self.spatial_dims, 5)
        check_rates(self.pyramid, self.spatial_dims)

    @property
    def pyramid(self) -> Entries:
        """The rates, or those of these dimensions."""
        return self.rates or ((3, 6, 12, 18, 24) if self.spatial_dims == 2 else (1, 2, 3, 4))

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """First channels, growth, and the pyramid's channels within and of each unit."""
        growth, _, middle, each = _TRUNKS[self.trunk]
        own = self.growth or (growth if self.spatial_dims == 2 else growth // 2)
        return 2 * own, own, max(middle * own // growth, 1), max(each * own // growth, 1)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of each block."""
        return self.blocks or _TRUNKS[self.trunk][1]

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.dense_aspp import dense_aspp

        return dense_aspp(self, in_channels, out_channels)
