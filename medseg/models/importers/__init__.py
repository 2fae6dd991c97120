"""Checkpoints of other projects, turned into weights of this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from torch import Tensor

from medseg.models.checkpoint import Checkpoint, read_tensors
from medseg.models.network import Network


@dataclass(frozen=True)
class Imported:
    """A foreign checkpoint in this project's words.

    ``network(in_channels, out_channels)`` builds the module that ``state`` fills without
    remainder; ``unused`` are foreign keys that have no place in it.
    """

    network: Network
    in_channels: int
    out_channels: int
    state: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()


def read_checkpoint(checkpoint: Checkpoint) -> Imported:
    """The network that a checkpoint of another project is of, and its weights.

    Raises ModelError E_CHECKPOINT where the file cannot be read or is of another kind, E_UNSAFE
    where it asks for something to be called.
    """
    found = import_module(f"medseg.models.importers.{checkpoint.format}")
    imported: Imported = found.read(read_tensors(checkpoint.path))
    return imported
