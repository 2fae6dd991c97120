"""Weights and checkpoints on disk, each written whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.io import write_atomically
from medseg.models.weights import weights_bytes

WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.pt"


def keep_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights; ModelError E_CHECKPOINT where they are no longer finite numbers."""
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise ModelError(
            "E_CHECKPOINT",
            "the weights are no longer finite numbers, and were not saved; lower"
            " training.learning_rate, or set training.precision to float32",
            folder,
        )
    write_atomically(folder / WEIGHTS, weights_bytes(dict(weights)))


def keep_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write all that a later run needs to go on."""
    packed = io.BytesIO()
    torch.save(dict(state), packed)
    write_atomically(folder / CHECKPOINT, packed.getvalue())


def kept_checkpoint(folder: Path, digests: Collection[str]) -> dict[str, Any] | None:
    """What an earlier run left, or None, on the CPU; it must have one of the ``digests``.

    What is restored from it goes to its own device, but for the count of steps of an optimizer:
    on a GPU that would be waited for at every step.
    Raises ModelError E_CHECKPOINT where it is damaged or belongs to something else.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged archive can end in almost any error, by where it was hit.
    except Exception as error:
        raise ModelError(
            "E_CHECKPOINT",
            f"is damaged ({type(error).__name__}); remove it to begin anew",
            path,
        ) from error
    if state["digest"] not in digests:
        raise ModelError(
            "E_CHECKPOINT",
            "belongs to another recipe or other studies; choose another --output, or remove"
            " the folder to begin anew",
            path,
        )
    return state
