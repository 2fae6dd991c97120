"""Files of weights: this project's own, and other projects' checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zipfile import is_zipfile

from medseg.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """Another project's checkpoint: its file and the ``format`` it is in.

    A state dict, plain or under ``state_dict``, ``model`` or ``network_weights``, as safetensors
    or as torch saves it. The network's own options must be those the checkpoint was trained with.
    """

    path: Path
    format: Literal[
        "uctransnet",
        "torchvision",
        "segformer_hf",
        "unet_milesial",
        "bisenetv2",
        "stdc",
        "nnunet",
        "monai",
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
    held = read_torch(path)
    for name in ("state_dict", "model", "network_weights"):
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    # Some projects keep a list of their labels or a count of steps beside the tensors.
    tensors = held if isinstance(held, Mapping) else {}
    tensors = {key: one for key, one in tensors.items() if isinstance(one, torch.Tensor)}
    if not tensors:
        raise ModelError("E_CHECKPOINT", "holds no state dict: tensors by their names", path)
    return tensors


def read_torch(path: Path) -> Any:
    """What torch saved in a file: tensors, numbers and texts, in lists and mappings.

    The tensors of files in today's form stay on disk until they are looked at. Raises ModelError:
    E_UNSAFE where the file asks for anything else to be called, of which nothing is; else
    E_CHECKPOINT.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except FileNotFoundError:
        raise ModelError("E_CHECKPOINT", "there is no such weights file", path) from None
    # What a damaged or foreign file ends in depends on where it is damaged.
    except Exception as error:
        if foreign := _foreign(path):
            told = f"cannot be read safely: it asks for {foreign}; nothing of it was run"
            raise ModelError("E_UNSAFE", told, path) from None
        told = f"cannot be read as a checkpoint of tensors ({type(error).__name__})"
        raise ModelError("E_CHECKPOINT", told, path) from error


def _numbers() -> list[Any]:
    """What numpy's numbers are packed with, by the names of this version and of those before."""
    import numpy as np

    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    types = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
    kinds = [type(np.dtype(one)) for one in types]
    return [np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]


def _foreign(path: Path) -> str:
    """The names that a file asks for beyond those that are allowed, or none."""
    import torch

    try:
        with torch.serialization.safe_globals(_numbers()):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    # Of a file that cannot be read nothing is known.
    except Exception:
        return ""
    return ", ".join(sorted(found)[:5])


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
