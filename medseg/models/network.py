"""What every network of the table is: its options, and a call that builds the module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from medseg.step import Step

if TYPE_CHECKING:
    from torch import nn

Dims = Literal[2, 3]


@dataclass(frozen=True)
class Network(Step, ABC):
    """A network before it is built; the YAML names it by ``name``.

    The module takes (B, C, *space) and gives logits (B, K, *space) of the same space. While it
    trains it may give a list of heads instead (``medseg.models.heads``): those logits first,
    then what is to be supervised beside them.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    good_for: ClassVar[str]
    dims: ClassVar[tuple[int, ...]] = (2, 3)

    spatial_dims: Dims = 3

    def parameters(self, in_channels: int = 1, out_channels: int = 2) -> int:
        """How many numbers training changes; nothing is computed for it."""
        from medseg.models.device import without_values

        with without_values():
            module = self(in_channels, out_channels)
        return sum(p.numel() for p in module.parameters() if p.requires_grad)

    def without_download(self) -> Self:
        """The same network, for weights that are at hand: none are fetched to be replaced."""
        return self

    @abstractmethod
    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build the module with fresh weights."""
