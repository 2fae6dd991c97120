"""Weights on disk: safetensors, checked key by key, shape by shape and number by number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill ``module`` from a safetensors file; nothing missing, nothing left over.

    Raises ModelError E_CHECKPOINT where the file is not there, is not safetensors, does not
    fit the network, or holds a number that is not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise ModelError(
            "E_CHECKPOINT", "there is no such weights file; train the pipeline first", path
        ) from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "E_CHECKPOINT", f"is not a whole safetensors file ({error})", path
        ) from error
    _compare(module.state_dict(), found, path)
    for key, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise ModelError("E_CHECKPOINT", f"{key} holds a number that is not finite", path)
    module.load_state_dict(found)


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
