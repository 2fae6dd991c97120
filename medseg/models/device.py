"""Where networks compute, in which precision, and how their numbers lie in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, cast

import torch
from torch import nn

Precision = Literal["float32", "bfloat16", "float16"]


def device_named(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then Apple's, then the processor."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


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
