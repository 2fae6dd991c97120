"""ENet, a very small network made for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Axes, Entries, strides_by_axis

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ENet(Network):
    """A deep, thin encoder of bottlenecks and a short decoder that unpools where it was pooled.

    ``widths`` are the channels after the stem, the second and the third halving; an image of
    more than half the first makes the stem wider, so that half of it at least is convolved.
    ``repeats`` says how often the eight bottlenecks at an eighth of the size (plain, dilated by
    2, 4, 8 and 16, and split by axis) follow each other. ``early_dropout`` and ``dropout`` are
    the shares of channels left out in training at a quarter and at an eighth of the size.
    ``strides`` are those of the three halvings, a number or one number an axis; 2 where it is
    left out. ``norm`` is the normalisation.
    """

    name: ClassVar[str] = "enet"
    paper: ClassVar[str] = "Paszke et al. 2016, arXiv:1606.02147"
    good_for: ClassVar[str] = "large organs, and screening on a CPU: a third of a million weights"

    widths: tuple[int, int, int] = (16, 64, 128)
    repeats: int = 2
    early_dropout: float = 0.01
    dropout: float = 0.1
    strides: Entries | None = None
    norm: Literal["batch", "instance", "group"] = "batch"

    def __post_init__(self) -> None:
        first, second, third = self.widths
        if not 2 <= first <= second <= third:
            raise ValueError(f"widths rise from 2 at least, not {self.widths}")
        if self.repeats < 1:
            raise ValueError(f"repeats is at least 1, not {self.repeats}")
        for name in ("early_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), not {getattr(self, name)}")
        _ = self.steps

    @property
    def steps(self) -> tuple[Axes, ...]:
        """The strides of the three halvings along each axis."""
        return strides_by_axis(self.strides, self.spatial_dims, 3)

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.enet import ENetNet

        return ENetNet(self, in_channels, out_channels)
