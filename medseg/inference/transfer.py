"""Windows to another device and what is said of them back, while the next are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def answered(
    batches: Iterable[Tensor], predict: Callable[[Tensor], Tensor], device: torch.device
) -> Iterator[Tensor]:
    """What ``predict`` says of each batch (B, C, x, y, z) on ``device``, back where the batch was.

    Across devices the answer to one batch travels while the next is computed, through memory
    that the GPU reaches by itself.
    """
    waiting: tuple[Tensor, torch.cuda.Event | None] | None = None
    for batch in batches:
        if batch.device == device:
            yield predict(batch)
            continue
        said = predict(_sent(batch, device))
        sent = _sent_back(said)
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = sent
    if waiting is not None:
        yield _arrived(*waiting)


def _sent(batch: Tensor, device: torch.device) -> Tensor:
    return (batch.pin_memory() if device.type == "cuda" else batch).to(device, non_blocking=True)


def _sent_back(said: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    if said.device.type != "cuda":
        return said.cpu(), None
    # Labels last, as they are added up.
    last = said.movedim(1, -1).contiguous()
    here = torch.empty(last.shape, dtype=last.dtype, pin_memory=True)
    here.copy_(last, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(said.device))
    return here.movedim(-1, 1), event


def _arrived(here: Tensor, event: torch.cuda.Event | None) -> Tensor:
    if event is not None:
        event.synchronize()
    return here
