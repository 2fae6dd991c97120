"""Where networks compute, in which precision, and how their numbers lie in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, cast

import torch
from torch import nn

from medseg.errors import PipelineError

Precision = Literal["float32", "bfloat16", "float16"]


def device_named(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then Apple's, then the processor.

    Raises PipelineError E_CONFIG where this machine has no such device.
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    kind, colon, number = name.partition(":")
    place = number if colon else "0"
    if not place.isdecimal() or int(place) >= counts.get(kind, 0):
        raise PipelineError(
            "E_CONFIG", f"there is no device {name!r} here; 'medseg doctor' tells what there is"
        )
    return torch.device(name)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Mixed precision for what runs inside; nothing changes for float32."""
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def densely(module: nn.Module, spatial_dims: int) -> nn.Module:
    """The module with its weights laid out channels last, as convolutions are fastest."""
    # torch's type stubs do not know this keyword.
    return cast(nn.Module, module.to(memory_format=layout(spatial_dims)))  # type: ignore[call-overload]


def layout(spatial_dims: int) -> torch.memory_format:
    """The memory format with channels last for 2D or 3D images."""
    return torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
