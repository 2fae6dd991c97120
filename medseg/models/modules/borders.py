"""Mirrored borders, for convolutions that have none of their own (Ronneberger et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """What a U-Net without borders loses along one axis, fine to coarse.

    ``strides`` has one entry between two levels; ``inward`` is lost on each level of the way
    down, ``outward`` on each of the way up, which has no lowest.
    """

    strides: Sequence[int]
    inward: Sequence[int]
    outward: Sequence[int]

    def lowest(self, side: int) -> int:
        """The least side of the lowest features of which a result of ``side`` can come."""
        for stride, lost in zip(self.strides, self.outward, strict=True):
            side = -(-(side + lost) // stride)
        return side

    def sides(self, lowest: int) -> tuple[int, int]:
        """The sides that the image and the result have where the lowest features have this."""
        image, result = lowest + self.inward[-1], lowest
        for level in reversed(range(len(self.strides))):
            image = image * self.strides[level] + self.inward[level]
            result = result * self.strides[level] - self.outward[level]
        return image, result


def bordered(image: Tensor, losses: Sequence[Loss]) -> Tensor:
    """``image (B, C, *space)`` mirrored at its borders, by one Loss an axis.

    The result of the network then starts where the image did and is at least as large. As in
    ``padded`` the lowest features are never a single voxel.
    """
    lowest = [loss.lowest(side) for loss, side in zip(losses, image.shape[2:], strict=True)]
    if max(lowest) == 1:
        lowest[-1] = 2
    for axis, (loss, side) in enumerate(zip(losses, lowest, strict=True), start=2):
        wanted, result = loss.sides(side)
        image = mirrored(image, axis, (wanted - result) // 2, wanted)
    return image


def mirrored(image: Tensor, axis: int, before: int, side: int) -> Tensor:
    """``image`` with ``before`` voxels in front of it and ``side`` in all along ``axis``.

    The mirror stands on the outermost voxel, and again on the other where one is not enough.
    """
    period = max(2 * (image.shape[axis] - 1), 1)
    place = torch.arange(-before, side - before, device=image.device) % period
    return image.index_select(axis, torch.minimum(place, period - place))
