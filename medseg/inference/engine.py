"""A network that is ready to be asked: built, filled, on its device, in its precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medseg.models import Network
from medseg.models.checkpoint import Weights
from medseg.models.device import densely
from medseg.models.weights import load_weights


class Filled(NamedTuple):
    """A network with its weights, and the tensors of a foreign checkpoint it has no place for."""

    module: nn.Module
    unused: tuple[str, ...]


@lru_cache(maxsize=8)
def filled(
    model: Network,
    weights: Weights,
    channels: tuple[int, int],
    device: str,
    stamp: tuple[int, ...],
) -> Filled:
    """The network with its weights, for inference; kept while the file stays as it is.

    ``channels`` are those of the image and of the logits; ``stamp`` tells versions of the file.
    """
    del stamp
    module = model.without_download()(*channels)
    unused = load_weights(module, weights)
    module.requires_grad_(False)
    return Filled(densely(module, model.spatial_dims).to(device).eval(), unused)


@lru_cache(maxsize=8)
def compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network compiled by torch when it is first asked; on a GPU as CUDA graphs."""
    kind = next(module.parameters()).device.type
    made = torch.compile(
        module, dynamic=False, mode="reduce-overhead" if kind == "cuda" else "default"
    )
    # A CUDA graph writes its next answer over the last one.
    return (lambda windows: made(windows).clone()) if kind == "cuda" else made


def forget() -> None:
    """Let go of every network that is kept; whoever is asked next is built anew."""
    compiled.cache_clear()
    filled.cache_clear()


def mirrored(ask: Callable[[Tensor], Tensor], axes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Ask about every mirror image along ``axes`` (0 is x) and average what is said."""
    flips = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))

    def of_all(image: Tensor) -> Tensor:
        # A copy: an engine may write its next answer over this one.
        total = ask(image).to(torch.float32, copy=True)
        for flip in flips[1:]:
            dims = [2 + axis for axis in flip]
            total += ask(image.flip(dims)).flip(dims)
        return total.div_(len(flips))

    return of_all if axes else ask
