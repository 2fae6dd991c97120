"""The options that networks on a residual encoder share."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from medseg.models.network import Network
from medseg.models.options import Entries, check_rates, strides_by_axis

if TYPE_CHECKING:
    from medseg.models.encoders.resnet import ResNet

Depth: TypeAlias = Literal[18, 34, 50, 101, 152]
Norm: TypeAlias = Literal["none", "batch", "instance", "group"]


@dataclass(frozen=True)
class OnResNet(Network, ABC):
    """A network whose features are those of a ResNet.

    What the fields mean is said by each network's own docstring, as that is its help.
    """

    depth: Depth | None = None
    base: int | None = None
    output_stride: Literal[8, 16, 32] = 8
    strides: Entries | None = None
    deep_stem: bool = False
    stem_base: int | None = None
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        for name in ("base", "stem_base"):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise ValueError(f"{name} is at least 1, not {found}")
        strides_by_axis(self.strides, self.spatial_dims, 5)

    @property
    def default_depth(self) -> Depth:
        """The depth where none is given."""
        return 50 if self.spatial_dims == 2 else 18

    @property
    def share(self) -> float:
        """How wide the network is, as a share of the paper's."""
        return (self.base or (64 if self.spatial_dims == 2 else 32)) / 64

    def wide(self, channels: int) -> int:
        """A head's channels: those of the paper, scaled as the encoder is."""
        return max(round(channels * self.share), 1)

    def resnet(self, in_channels: int, **options: Any) -> ResNet:
        """The ResNet with fresh weights; ``options`` are the encoder's further ones."""
        from medseg.models.encoders.resnet import ResNet

        return ResNet(
            self.spatial_dims,
            in_channels,
            self.depth or self.default_depth,
            base=self.wide(64),
            norm=self.norm,
            deep_stem=self.deep_stem,
            stem_base=self.stem_base,
            output_stride=self.output_stride,
            stage_strides=strides_by_axis(self.strides, self.spatial_dims, 5),
            **options,
        )


@dataclass(frozen=True)
class WithHeads(OnResNet, ABC):
    """A network on a ResNet with a head on the last stage, and one on the last but one."""

    head_channels: int | None = None
    auxiliary: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_channels is not None and self.head_channels < 1:
            raise ValueError(f"head_channels is at least 1, not {self.head_channels}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")


@dataclass(frozen=True)
class WithRates(WithHeads, ABC):
    """A network on a ResNet that looks at its features at several rates."""

    rates: Entries | None = None
    clamp: bool = True
    separable: bool = False
    multi_grid: tuple[int, ...] = (1, 1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self.pyramid, self.spatial_dims)
        if not self.multi_grid or min(self.multi_grid) < 1:
            raise ValueError(f"multi_grid is one or more numbers above 0, not {self.multi_grid}")

    @property
    def pyramid(self) -> Entries:
        """The rates, or those of these dimensions and stride."""
        if self.rates is not None:
            return self.rates
        if self.spatial_dims == 3:
            return (2, 4, 6)
        return (12, 24, 36) if self.output_stride == 8 else (6, 12, 18)
