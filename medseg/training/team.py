"""One process of training, or several that ``torchrun`` started together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

_PATIENCE = timedelta(hours=6)
"""How long others wait for the first process, which validates and writes alone."""


@dataclass(frozen=True)
class Team:
    """The processes of one training; ``rank`` is this one's place among ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes, validates and tells."""
        return self.rank == 0

    def agreed(self, *numbers: float) -> tuple[float, ...]:
        """The first process's numbers, in every process."""
        if self.size == 1:
            return numbers
        told = torch.tensor(numbers, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            told = told.cuda()
        distributed.broadcast(told, 0)
        return tuple(told.tolist())

    def wait(self) -> None:
        """Go on when every process has come here."""
        self.agreed(0.0)

    def synced(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with batch normalisation over all processes, where they are on GPUs."""
        if self.size == 1 or device.type != "cuda":
            return module
        found: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return found

    def shared(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over all processes."""
        if self.size == 1:
            return module
        places = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=places)


ALONE = Team()


def team_size() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def own_device(named: str) -> str:
    """The accelerator of this process where several share a machine: cuda is cuda:LOCAL_RANK."""
    cuda = named == "cuda" or (named == "auto" and torch.cuda.is_available())
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if team_size() > 1 and cuda else named


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team of this process; NCCL between GPUs, Gloo between processors."""
    if team_size() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
