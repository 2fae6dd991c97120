"""Where networks compute, in which precision, and how their numbers lie in memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medseg.errors import PipelineError

Precision = Literal["float32", "bfloat16", "float16"]

# Of glibc's malloc.h: the largest top of the heap that is kept, and the least size of a block
# that is the system's own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_OWN_BLOCK_BYTES = 2**28

# In torch.nn.init and of tensors.
_DRAWING = {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"}


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


def keep_freed_memory(gib: float) -> None:
    """Let this process keep up to ``gib`` that tensors on the processor have freed, for the next.

    A network asks for the same tensors over and over. glibc gives each of them back to the system,
    which hands out zeroed pages the next time (docs/benchmarks.md has what that costs). Other C
    libraries are left as they are.
    """
    with suppress(AttributeError, OSError, TypeError):
        tell = ctypes.CDLL(None).mallopt
        tell(_TRIM_THRESHOLD, int(gib * 2**30))
        tell(_MMAP_THRESHOLD, _OWN_BLOCK_BYTES)


@contextmanager
def without_values() -> Iterator[None]:
    """What is built inside has its shapes and no numbers: none are drawn, no memory is taken."""
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves first weights out; torch would load its compiler to draw them for no device."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if getattr(function, "__name__", "") in _DRAWING:
            return args[0] if args else named["tensor"]
        return function(*args, **named)


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """Mixed precision for what runs inside; nothing changes for float32."""
    mixed = torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")
    with mixed, _FlatInFull() if device.type == "cpu" and precision != "float32" else nullcontext():
        yield


class _FlatInFull(TorchFunctionMode):
    """3D convolutions of flat features in float32.

    Where the first axis is no longer than the kernel less one, oneDNN's gradients of the weights
    in bfloat16 are memory that nobody wrote to, or a crash (seen with torch 2.13 on x86).
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.conv3d or not _flat(*args[:2]):
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            full: list[Any] = [a.float() if isinstance(a, Tensor) else a for a in args]
            return function(*full, **kwargs)


def _flat(features: Tensor, weight: Tensor) -> bool:
    """Whether ``features (B, C, X, Y, Z)`` are shorter along x than a kernel and its borders."""
    return bool(features.shape[2] < weight.shape[2])


def densely(module: nn.Module, spatial_dims: int) -> nn.Module:
    """The module with its weights laid out channels last, as convolutions are fastest."""
    # torch's type stubs do not know this keyword.
    return cast(nn.Module, module.to(memory_format=layout(spatial_dims)))  # type: ignore[call-overload]


def layout(spatial_dims: int) -> torch.memory_format:
    """The memory format with channels last for 2D or 3D images."""
    return torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
