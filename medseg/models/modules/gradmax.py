"""Where new channels would lower the loss fastest (GradMax, Evci et al. 2022, arXiv:2201.05125).

A channel between two convolutions passes on what a third one, beside the pair, would compute
with a kernel that both together span. The gradient of that third one at zero weights says which
pairs of incoming and outgoing weights matter: its largest singular vectors.

GradMax leaves incoming weights at zero and takes the outgoing vectors. A normalisation in
between would blow the first small step up to full size, so here the channel is silenced by the
normalisation's scale instead, and both vectors are used: the scale's gradient is then the
singular value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight, conv3d_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[str, str]
_SPARE = 8
"""Vectors computed beyond those asked for, so that these are accurate."""


class Directions(NamedTuple):
    """Unit vectors (N, inputs, *kernel) and (outputs, N, *kernel), and their values (N)."""

    incoming: Tensor
    outgoing: Tensor
    values: Tensor

    def scaled(self, first: Tensor, second: Tensor, scale: float = 0.5) -> Directions:
        """Of the size of the weights ``first`` and ``second`` make with those that are there.

        Incoming ones are as long as the filters are on average; outgoing ones ``scale`` times.
        """
        long = first.flatten(1).norm(dim=1).mean().to(self.incoming)
        out = scale * second.transpose(0, 1).flatten(1).norm(dim=1).mean().to(self.outgoing)
        return Directions(self.incoming * long, self.outgoing * out, self.values)


@dataclass
class _Watched:
    """One pair of convolutions, and the gradient of the third one beside it so far."""

    first: Any
    second: Any
    seen: Tensor | None = None
    total: Tensor | None = None

    @property
    def kernel(self) -> tuple[int, ...]:
        """What both together span."""
        each = zip(self.first.kernel_size, self.second.kernel_size, self.first.stride, strict=True)
        return tuple(stride * (two - 1) + one for one, two, stride in each)

    def see(self, _: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        """Keep what comes to the first."""
        self.seen = inputs[0].detach()

    def follow(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        """Wait for the gradient of what leaves the second."""
        output.register_hook(self.add)  # type: ignore[no-untyped-call]

    def add(self, gradient: Tensor) -> None:
        """Add the third convolution's gradient."""
        assert self.seen is not None
        of_weight = conv2d_weight if gradient.ndim == 4 else conv3d_weight
        padding = zip(self.first.padding, self.second.padding, self.first.stride, strict=True)
        found = of_weight(  # type: ignore[no-untyped-call]
            self.seen.float(),
            (self.second.out_channels, self.first.in_channels, *self.kernel),
            gradient.float(),
            stride=self.first.stride,
            padding=tuple(one + stride * two for one, two, stride in padding),
        )
        self.total = found if self.total is None else self.total + found

    def matrix(self) -> Tensor:
        """The gradient as (inputs times the first kernel, outputs times the second)."""
        assert self.total is not None
        dims, found = len(self.kernel), self.total
        for axis in range(dims):
            # Offset o of the span is stride times the second kernel's plus the first's.
            found = found.unfold(2 + axis, self.first.kernel_size[axis], self.first.stride[axis])
        seconds, firsts = range(2, 2 + dims), range(2 + dims, 2 + 2 * dims)
        rows = self.first.in_channels * found.shape[2 + dims :].numel()
        return found.permute(1, *firsts, 0, *seconds).reshape(rows, -1)

    def directions(self, count: int) -> Directions:
        """The largest ``count`` singular vectors; fewer where there are not as many."""
        matrix = self.matrix()
        few = min(count + _SPARE, *matrix.shape)
        left, values, right = torch.svd_lowrank(matrix, few, niter=4)
        incoming = left[:, :count].T.reshape(-1, self.first.in_channels, *self.first.kernel_size)
        outgoing = right[:, :count].reshape(self.second.out_channels, *self.second.kernel_size, -1)
        return Directions(incoming, outgoing.movedim(-1, 1), values[:count])


@contextmanager
def _watching(module: nn.Module, pairs: Iterable[Pair]) -> Iterator[dict[Pair, _Watched]]:
    found, hooks = {}, []
    for first, second in pairs:
        one = _Watched(module.get_submodule(first), module.get_submodule(second))
        hooks.append(one.first.register_forward_hook(one.see))
        hooks.append(one.second.register_forward_hook(one.follow))
        found[first, second] = one
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def gradmax(
    module: nn.Module, counts: Mapping[Pair, int], losses: Iterable[Callable[[], Tensor]]
) -> dict[Pair, Directions]:
    """For each pair of convolutions, the directions of that many new channels between them.

    Each of ``losses`` asks the module about one batch. Gradients of its parameters are left on
    it. Deterministic.
    """
    with _watching(module, counts) as pairs:
        for loss in losses:
            loss().backward()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {pair: pairs[pair].directions(count) for pair, count in counts.items()}


def promise(directions: Directions) -> float:
    """The squared gradient that all these channels would have together."""
    return float(directions.values.double().square().sum())
