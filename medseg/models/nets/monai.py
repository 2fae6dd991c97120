"""Networks of MONAI, for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medseg.models.fitting import covered, cropped, padded
from medseg.models.heads import Heads, halving


class ReadableRanges(TorchFunctionMode):
    """Keeps ranges of numbers on the CPU, for networks that read them while they are built.

    Else such a network could not be built on the meta device, where nothing can be read.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """``func`` as it is, but for ``linspace``."""
        options = dict(kwargs or {})
        if func is torch.linspace:
            options["device"] = "cpu"
        return func(*args, **options)


class Fitted(nn.Module):
    """Around a network whose image sides must be multiples.

    Where it gives several logits while it trains, from fine to coarse, these are deep
    supervision; the coarse ones keep their own size, as far as the image went.
    """

    def __init__(self, network: nn.Module, multiples: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.multiples = tuple(multiples)

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.multiples)
        said: Tensor | Sequence[Tensor] = self.network(full)
        if isinstance(said, Tensor) and said.ndim > image.ndim:
            # MONAI's DynUNet stacks its heads behind the batch, all at the image's size.
            said = said.unbind(1)
        if isinstance(said, Tensor):
            return cropped(said, image.shape[2:])
        spaces = [covered(image, full.shape[2:], logits) for logits in said]
        return halving([cropped(*one) for one in zip(said, spaces, strict=True)])
