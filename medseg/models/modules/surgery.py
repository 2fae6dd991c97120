"""Widens the channels of a network, whoever makes, normalises and takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.models.modules.morphisms import Edit, Morph, Padded, Picked, State


@dataclass(frozen=True)
class Takes:
    """A convolution that reads channels: its ``key`` and where they begin among its inputs.

    ``transposed`` ones have their inputs on the first axis.
    """

    key: str
    offset: int = 0
    transposed: bool = False


@dataclass(frozen=True)
class Space:
    """Channels that stand or fall together: who makes them, who normalises and who takes them.

    ``makes`` are convolutions, ``raises`` transposed ones; keys are those of modules.
    """

    makes: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    takes: tuple[Takes, ...] = ()


class Surgery:
    """Widens spaces one after another; ``morph`` has all that was done."""

    def __init__(self, state: State, seed: int) -> None:
        self.state = {key: tensor.detach().cpu() for key, tensor in state.items()}
        self.edits: list[tuple[str, Edit]] = []
        self.chance = torch.Generator().manual_seed(seed)

    def edit(self, key: str, edit: Edit) -> None:
        """Note an edit and do it to the copy that the next one sees."""
        self.state[key] = edit.weights(self.state[key])
        self.edits.append((key, edit))

    def morph(self, fresh: State | None = None) -> Morph:
        """All that was done so far."""
        return Morph(tuple(self.edits), fresh or {})

    def width(self, space: Space) -> int:
        """How many channels the space has now."""
        if space.makes:
            return self.state[f"{space.makes[0]}.weight"].shape[0]
        return self.state[f"{space.raises[0]}.weight"].shape[1]

    def copied(self, count: int, width: int) -> Tensor:
        """Every channel once, then ``count`` drawn among them, as evenly as can be."""
        rounds = -(-count // width)
        drawn = [torch.randperm(width, generator=self.chance) for _ in range(rounds)]
        return torch.cat([torch.arange(width), torch.cat(drawn)[:count]])

    def widen(self, space: Space, count: int, noise: float = 0.0) -> None:
        """``count`` copies more (Net2Net); who takes copies shares its weights among them.

        ``noise`` (of the weights' deviation) tells the copies apart. It is added where they are
        taken and sums to zero over the copies of a channel, so that the function stays the same.
        """
        index = self.copied(count, self.width(space))
        for key, axis in self._made(space):
            self.edit(key, Picked(axis, index, takes=False))
        for taker in space.takes:
            self._take(taker, index, lambda where, old: self._noise(where, old, noise))

    def add(
        self, space: Space, count: int, made: Tensor | None = None, taken: Tensor | None = None
    ) -> None:
        """``count`` new channels that nobody takes yet: drawn incoming, zero outgoing weights.

        ``made`` (count, inputs, *kernel) and ``taken`` (outputs, count, *kernel) are weights for
        a space of one maker and one taker; the channels are then silent by the scale of their
        normalisation, which is zero.
        """
        width = self.width(space)
        index = torch.cat([torch.arange(width), torch.full((count,), -1)])
        for key, axis in self._made(space):
            plus = self._drawn(key, axis, count)
            if made is not None and key.startswith(f"{space.makes[0]}."):
                plus = made
            if made is not None and key.endswith("norm.weight"):
                plus = torch.zeros(count)
            self.edit(key, Picked(axis, index, False, self._behind(key, axis, plus)))
        for taker in space.takes:
            self._take(taker, index, lambda where, old: _at_new(where, old, taken))

    def _made(self, space: Space) -> list[tuple[str, int]]:
        """Tensors with these channels as outputs, and the axis they are on."""
        keys = [(f"{key}.{name}", 0) for key in space.makes for name in ("weight", "bias")]
        keys += [(f"{key}.weight", 1) for key in space.raises]
        keys += [(f"{key}.bias", 0) for key in space.raises]
        names = ("weight", "bias", "running_mean", "running_var")
        keys += [(f"{key}.{name}", 0) for key in space.norms for name in names]
        return [(key, axis) for key, axis in keys if key in self.state]

    def _drawn(self, key: str, axis: int, count: int) -> Tensor:
        """As torch draws them: convolutions uniform by their inputs, normalisations neutral."""
        shape = list(self.state[key].shape)
        shape[axis] = count
        if len(shape) == 1:
            one = key.endswith(("weight", "running_var"))
            return torch.ones(shape) if one else torch.zeros(shape)
        # The inputs of a transposed convolution are first, and torch counts its outputs instead.
        bound: float = self.state[key].select(axis, 0).numel() ** -0.5
        return (torch.rand(shape, generator=self.chance) * 2 - 1) * bound

    def _behind(self, key: str, axis: int, new: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(self.state[key]), new.to(self.state[key])], axis)

    def _take(
        self, taker: Takes, index: Tensor, plus: Callable[[Picked, Tensor], Tensor | None]
    ) -> None:
        """The same index for a taker, shifted to where the channels lie among its inputs."""
        key, axis = f"{taker.key}.weight", 0 if taker.transposed else 1
        inputs, width = self.state[key].shape[axis], int(index.max()) + 1
        shifted = torch.where(index >= 0, index + taker.offset, -1)
        behind = torch.arange(taker.offset + width, inputs)
        edit = Picked(axis, torch.cat([torch.arange(taker.offset), shifted, behind]), takes=True)
        self.edit(key, Picked(axis, edit.index, True, plus(edit, self.state[key])))

    def _noise(self, edit: Picked, old: Tensor, noise: float) -> Tensor | None:
        if not noise:
            return None
        shape = list(old.shape)
        shape[edit.axis] = len(edit.index)
        drawn = torch.randn(shape, generator=self.chance) * noise * old.std()
        # Less its mean over the copies of a channel: it sums to zero there, and is zero for one.
        sums = torch.zeros_like(old).index_add_(edit.axis, edit.index, drawn)
        share = edit.share.reshape(-1, *(1,) * (old.ndim - edit.axis - 1))
        return drawn - sums.index_select(edit.axis, edit.index) * share


def _at_new(edit: Picked, old: Tensor, taken: Tensor | None) -> Tensor | None:
    """``taken`` at the places that are new, zeros elsewhere."""
    if taken is None:
        return None
    shape = list(old.shape)
    shape[edit.axis] = len(edit.index)
    places = (edit.index < 0).nonzero().flatten()
    out: Tensor = torch.zeros(shape).index_copy_(edit.axis, places, taken.to(old))
    return out


def grown_kernel(
    surgery: Surgery, keys: Sequence[str], old: Sequence[int], new: Sequence[int]
) -> None:
    """Zeros around every kernel of ``keys``, from ``old`` to ``new`` sides."""
    margins = tuple((n - o) // 2 for o, n in zip(old, new, strict=True))
    for key in keys:
        surgery.edit(f"{key}.weight", Padded(margins))
