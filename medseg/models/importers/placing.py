"""Foreign tensors put where a network of this project wants them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.models.device import without_values
from medseg.models.importers import Imported
from medseg.models.network import Network


def bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` without the ``module.`` that training on several devices puts before a name."""
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def counted(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers the first group of ``pattern`` has; at least one, for ``needed`` to miss."""
    found = (re.match(pattern, key) for key in state)
    return max(1, len({one[1] for one in found if one}))


def needed(state: Mapping[str, Tensor], key: str, dims: tuple[int, ...]) -> Tensor:
    """The tensor of that name, with one of ``dims`` many dimensions. Raises ModelError."""
    if key not in state:
        raise ModelError("E_CHECKPOINT", f"{key} is missing")
    tensor = state[key]
    if tensor.ndim not in dims or 0 in tensor.shape:
        allowed = " or ".join(map(str, dims))
        raise ModelError(
            "E_CHECKPOINT",
            f"{key} has shape {tuple(tensor.shape)}; {allowed} dimensions are wanted, none empty",
        )
    return tensor


def placed(
    network: Network,
    channels: tuple[int, int],
    state: Mapping[str, Tensor],
    own: Callable[[str], str],
) -> Imported:
    """Every tensor of ``state`` at the key that ``own`` gives for its own, or among the unused.

    ``channels`` are those of the image and of the logits. Tensors of one key, such as heads, are
    joined along their first axis. Raises ModelError E_CHECKPOINT where the network wants another
    shape or where something is missing.
    """
    with without_values():
        wanted = network(*channels).state_dict()
    found: dict[str, list[str]] = {name: [] for name in wanted}
    unused: list[str] = []
    for key in sorted(state, key=lambda key: (len(key), key)):
        found.get(own(key), unused).append(key)
    return Imported(
        network=network,
        in_channels=channels[0],
        out_channels=channels[1],
        state={name: _joined(name, shape, found[name], state) for name, shape in wanted.items()},
        unused=tuple(unused),
    )


def _joined(name: str, like: Tensor, keys: list[str], state: Mapping[str, Tensor]) -> Tensor:
    if not keys:
        raise ModelError("E_CHECKPOINT", f"{name} is wanted, and nothing is there for it")
    shape = list(like.shape)
    if len(keys) > 1:
        shape[0] //= len(keys)
    for key in keys:
        if list(state[key].shape) != shape:
            raise ModelError(
                "E_CHECKPOINT",
                f"{key} has shape {tuple(state[key].shape)} and {tuple(shape)} is wanted",
            )
    tensors = [state[key] for key in keys]
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]
