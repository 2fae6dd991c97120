"""Running out of memory, told as a mistake of the study with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medseg.errors import StudyError


@contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Run what is inside. Raises StudyError E_GPU_MEMORY or E_MEMORY where memory runs out."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        told = f"{what} needs more memory than the device has; {advice}"
        raise StudyError("E_GPU_MEMORY", told) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        told = f"{what} needs more memory than the machine has; {advice}"
        raise StudyError("E_MEMORY", told) from error
