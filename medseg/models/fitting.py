"""Any input size for networks that halve: pad up to a multiple, crop the logits back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def padded(image: Tensor, multiples: Sequence[int]) -> Tensor:
    """``image (B, C, *space)`` with zeros at the far ends, each side a multiple.

    The last side is two multiples where all would be one: a single voxel, which is what the
    lowest level would then see, has no mean and deviation to be normalised by.
    """
    from torch.nn.functional import pad

    counts = [-(-side // m) for side, m in zip(image.shape[2:], multiples, strict=True)]
    if max(counts) == 1:
        counts[-1] = 2
    wanted = [count * m for count, m in zip(counts, multiples, strict=True)]
    missing = [w - side for w, side in zip(wanted, image.shape[2:], strict=True)]
    if not any(missing):
        return image
    return pad(image, [amount for m in reversed(missing) for amount in (0, m)])


def cropped(logits: Tensor, space: Sequence[int]) -> Tensor:
    """``logits (B, K, *space)`` cut back to the space that the image had."""
    if tuple(logits.shape[2:]) == tuple(space):
        return logits
    return logits[(slice(None), slice(None), *(slice(0, side) for side in space))]


def covered(image: Tensor, full: Sequence[int], coarse: Tensor) -> list[int]:
    """The space of a coarser level that ``image`` reaches into; ``full`` is its padded size."""
    sides = zip(image.shape[2:], full, coarse.shape[2:], strict=True)
    return [-(-side * few // many) for side, many, few in sides]
