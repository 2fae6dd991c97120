"""Any input size for networks that halve: pad up to a multiple, crop the logits back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def padded(image: Tensor, multiples: Sequence[int]) -> Tensor:
    """``image (B, C, *space)`` with zeros at the far ends, each side a multiple."""
    from torch.nn.functional import pad

    missing = [-side % m for side, m in zip(image.shape[2:], multiples, strict=True)]
    if not any(missing):
        return image
    return pad(image, [amount for m in reversed(missing) for amount in (0, m)])


def cropped(logits: Tensor, space: Sequence[int]) -> Tensor:
    """``logits (B, K, *space)`` cut back to the space that the image had."""
    if tuple(logits.shape[2:]) == tuple(space):
        return logits
    return logits[(slice(None), slice(None), *(slice(0, side) for side in space))]
