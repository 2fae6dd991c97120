"""Files of weights: this project's own, and other projects' checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from medseg.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """Another project's checkpoint: its file and the ``format`` it is in.

    A state dict, plain or under ``state_dict`` or ``model``, as safetensors or as torch saves it.
    The network's own options must be those the checkpoint was trained with.
    """

    path: Path
    format: Literal[
        "uctransnet", "torchvision", "segformer_hf", "unet_milesial", "bisenetv2", "stdc"
    ]


Weights: TypeAlias = Path | Checkpoint


def weights_file(weights: Weights) -> Path:
    """Where the weights are read from."""
    return weights.path if isinstance(weights, Checkpoint) else weights


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Another project's tensors by name, of safetensors or of a file that torch saved.

    Nothing but tensors is unpacked. Raises ModelError E_CHECKPOINT.
    """
    import torch

    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError("E_CHECKPOINT", "there is no such weights file", path) from None
    # What a damaged or foreign file ends in depends on where it is damaged.
    except Exception as error:
        told = f"cannot be read as a checkpoint of tensors ({type(error).__name__})"
        raise ModelError("E_CHECKPOINT", told, path) from error
    for name in ("state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    # Some projects keep a list of their labels or a count of steps beside the tensors.
    tensors = held if isinstance(held, Mapping) else {}
    tensors = {key: one for key, one in tensors.items() if isinstance(one, torch.Tensor)}
    if not tensors:
        raise ModelError("E_CHECKPOINT", "holds no state dict: tensors by their names", path)
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises ModelError E_CHECKPOINT."""
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
    return found
