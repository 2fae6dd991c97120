"""Weights into a network, checked key by key, shape by shape and number by number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import ModelError
from medseg.models.checkpoint import (
    Checkpoint,
    Weights,
    read_safetensors,
    read_tensors,
    weights_file,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_weights(module: nn.Module, weights: Weights) -> tuple[str, ...]:
    """Fill ``module`` from a file; nothing missing, nothing left over of this project's own.

    Gives the keys of another project's checkpoint that have no place in a network. Raises
    ModelError E_CHECKPOINT where the file is not there, cannot be read, does not fit the
    network, or holds a number that is not finite.
    """
    import torch

    path = weights_file(weights)
    found: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()
    if isinstance(weights, Checkpoint) and weights.format == "monai":
        # MONAI's own module stands within one that fits it to images of any size.
        found = {f"network.{key}": one for key, one in read_tensors(path).items()}
    elif isinstance(weights, Checkpoint):
        from medseg.models.importers import read_checkpoint

        imported = read_checkpoint(weights)
        found, unused = imported.state, imported.unused
    else:
        found = read_safetensors(path)
    _compare(module.state_dict(), found, path)
    for key, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise ModelError("E_CHECKPOINT", f"{key} holds a number that is not finite", path)
    module.load_state_dict(found)
    return unused


def _compare(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    missing = sorted(wanted.keys() - found.keys())
    unused = sorted(found.keys() - wanted.keys())
    if missing or unused:
        raise ModelError(
            "E_CHECKPOINT",
            f"does not belong to this network: {len(missing)} of its tensors are missing"
            f"{_some(missing)} and {len(unused)} are unknown{_some(unused)}",
            path,
        )
    for key, tensor in wanted.items():
        if tensor.shape != found[key].shape:
            raise ModelError(
                "E_CHECKPOINT",
                f"{key} has shape {tuple(found[key].shape)} and the network wants"
                f" {tuple(tensor.shape)}; are the channels, labels and widths those it was"
                " trained with?",
                path,
            )


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''})" if keys else ""


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A state dict as the bytes of a safetensors file."""
    from safetensors.torch import save

    packed: bytes = save({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()})
    return packed
