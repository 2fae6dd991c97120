"""What a network that grows offers to the training: its next forms, and the way to each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

    from medseg.models.modules.gradmax import Directions
    from medseg.models.modules.morphisms import Morph

Operator: TypeAlias = Literal["widen", "features", "deepen", "level", "kernel"]


@dataclass(frozen=True)
class Move:
    """One step of growth: what is done, where, and the network that comes of it.

    ``pair`` names the two convolutions between which ``count`` new channels come to lie, where
    that is what the step is about; GradMax scores such a place.
    """

    operator: Operator
    where: str
    network: Growing
    pair: tuple[str, str] | None = None
    count: int = 0


@dataclass(frozen=True)
class Growing(Network):
    """A network whose options are its genotype: they rebuild whatever it has grown to."""

    @abstractmethod
    def sized(self, patch: Sequence[int], spacing: Sequence[float]) -> Self:
        """The seed for patches of that many voxels, of that spacing in millimetres."""

    @abstractmethod
    def moves(self, operator: Operator, patch: Sequence[int], factor: float) -> tuple[Move, ...]:
        """Everywhere that ``operator`` can be applied; ``factor`` is by how much it widens."""

    @abstractmethod
    def morph(
        self, module: nn.Module, move: Move, seed: int, directions: Directions | None = None
    ) -> Morph:
        """How the weights of ``module`` become those of ``move.network``, its function kept."""

    @abstractmethod
    def genotype_json(self) -> str:
        """The whole structure as JSON."""

    @classmethod
    @abstractmethod
    def from_json(cls, text: str) -> Self:
        """The network that ``genotype_json`` wrote down. Raises ValueError."""
