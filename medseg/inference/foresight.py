"""What a network will need, found by following it on tensors without voxels."""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.models import Network
from medseg.models.device import without_values


@lru_cache(maxsize=16)
def window_bytes(model: Network, channels: tuple[int, int], window: tuple[int, ...]) -> int:
    """The most bytes of float32 that one window's way through a network holds at once.

    The window and the logits are in it, the network's own weights and the scratch space of
    single operations are not. ``channels`` are those of the image and of the logits.
    """
    with without_values():
        module = model.without_download()(*channels).eval()
        image = torch.empty(1, channels[0], *window)
        with torch.inference_mode(), _Living(image) as living:
            module(image)
    most: int = living.most
    return most


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storage that tensors still refer to."""

    def __init__(self, first: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._users: dict[int, int] = {}
        self._bytes = 0
        self.most = 0
        self._meet(first)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                self._meet(one)
        self.most = max(self.most, self._bytes)
        return made

    def _meet(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place not in self._users:
            self._users[place] = 0
            self._bytes += size
        self._users[place] += 1
        weakref.finalize(tensor, self._leave, place, size)

    def _leave(self, place: int, size: int) -> None:
        self._users[place] -= 1
        if not self._users[place]:
            del self._users[place]
            self._bytes -= size
