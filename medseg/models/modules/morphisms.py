"""Growth that keeps the function: how every tensor of a network becomes that of a larger one.

Widening by copies is Net2Net's (Chen et al. 2016, arXiv:1511.05641); kernels and residual blocks
are those of network morphisms (Wei et al. 2016, arXiv:1603.01670). An edit also says what
becomes of the running means of gradients: they end as those that the larger network would have
had. A channel that stands n times in the place of one takes 1/n of its gradient, and the weights
that read the copies take all of it each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

State: TypeAlias = Mapping[str, Tensor]
Power: TypeAlias = Literal[1, 2]
"""1 for the running mean of gradients, 2 for that of their squares."""


class Edit(Protocol):
    """What becomes of one tensor, and of the moments of its gradients."""

    def weights(self, tensor: Tensor) -> Tensor:
        """The tensor of the larger network."""

    def moments(self, tensor: Tensor, power: Power) -> Tensor:
        """Its moments; zero where it is new."""


@dataclass(frozen=True)
class Picked:
    """Along ``axis``, place n comes from ``index[n]``; where that is -1, it is new and zero.

    ``share`` is what one of several copies stands for. Where the axis is that of inputs
    (``takes``) the weights are multiplied by it, else the gradients. ``plus`` is added to the
    weights then: what is new, or noise.
    """

    axis: int
    index: Tensor
    takes: bool
    plus: Tensor | None = None

    @property
    def share(self) -> Tensor:
        """One over how often the source of each place stands here; 0 where it is new."""
        old = self.index >= 0
        times = torch.bincount(self.index[old])[self.index.clamp(min=0)]
        return torch.where(old, 1 / times.clamp(min=1), 0.0)

    def weights(self, tensor: Tensor) -> Tensor:
        """The tensor of the larger network."""
        shares = self.share if self.takes else (self.index >= 0).double()
        out = self._picked(tensor, shares)
        return out if self.plus is None else out + self.plus.to(out)

    def moments(self, tensor: Tensor, power: Power) -> Tensor:
        """Its moments; zero where it is new."""
        shares = (self.index >= 0).double() if self.takes else self.share**power
        return self._picked(tensor, shares)

    def _picked(self, tensor: Tensor, shares: Tensor) -> Tensor:
        picked = tensor.index_select(self.axis, self.index.clamp(min=0).to(tensor.device))
        ones = (1,) * (tensor.ndim - self.axis - 1)
        return picked * shares.to(tensor).reshape(-1, *ones)


@dataclass(frozen=True)
class Padded:
    """A larger kernel: ``margins`` zeros on both sides of each spatial axis."""

    margins: tuple[int, ...]

    def weights(self, tensor: Tensor) -> Tensor:
        """The tensor of the larger network."""
        return pad(tensor, [margin for one in reversed(self.margins) for margin in (one, one)])

    def moments(self, tensor: Tensor, power: Power) -> Tensor:
        """Its moments; zero where it is new."""
        del power
        return self.weights(tensor)


@dataclass(frozen=True)
class Morph:
    """Edits by key, in their order, and the tensors that are wholly new."""

    edits: tuple[tuple[str, Edit], ...] = ()
    fresh: State = field(default_factory=dict)

    def weights(self, state: State) -> dict[str, Tensor]:
        """The larger network's state; also that of an average of weights."""
        out = dict(state)
        for key, edit in self.edits:
            out[key] = edit.weights(out[key])
        return {**out, **self.fresh}

    def moments(self, state: State, power: Power) -> dict[str, Tensor]:
        """Moments by key; keys that are wholly new have none."""
        out = dict(state)
        for key, edit in self.edits:
            if key in out:
                out[key] = edit.moments(out[key], power)
        return out
