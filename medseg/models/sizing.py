"""Strides and kernels from the size and the spacing of a patch, by nnU-Net's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_SIDE = 4
"""No axis is halved to fewer voxels than this."""


class Sizes(NamedTuple):
    """``strides`` has one entry between two stages, ``kernels`` one a stage; a number an axis."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def sizes(patch: Sequence[int], spacing: Sequence[float], stages: int) -> Sizes:
    """Halve what is long and fine enough, at most ``stages - 1`` times (Isensee et al. 2021).

    An axis is halved while it has 8 voxels or more and its spacing is below twice the finest
    of those; a last axis left alone needs 12. Its kernel is 1 until its spacing is within a
    factor 2 of the finest, and 3 from then on; the lowest stage's is 3 everywhere.
    """
    sides, spaces = list(patch), [float(one) for one in spacing]
    strides: list[tuple[int, ...]] = []
    kernels: list[tuple[int, ...]] = []
    flat = [True] * len(sides)
    while len(strides) < stages - 1:
        halved = _halved(sides, spaces)
        if not halved:
            break
        flat = _flat(flat, spaces)
        kernels.append(tuple(1 if one else 3 for one in flat))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(len(sides))))
        for axis in halved:
            sides[axis], spaces[axis] = -(-sides[axis] // 2), spaces[axis] * 2
    return Sizes(tuple(strides), (*kernels, (3,) * len(sides)))


def _halved(sides: Sequence[int], spaces: Sequence[float]) -> set[int]:
    long = [axis for axis, side in enumerate(sides) if side >= 2 * LEAST_SIDE]
    finest = min((spaces[axis] for axis in long), default=0.0)
    fine = {axis for axis in long if spaces[axis] < 2 * finest}
    if len(fine) == 1 and sides[next(iter(fine))] < 3 * LEAST_SIDE:
        return set()
    return fine


def _flat(before: Sequence[bool], spaces: Sequence[float]) -> list[bool]:
    """Axes still too coarse for a kernel of 3; once in, an axis stays in."""
    finest = min(spaces)
    return [was and space >= 2 * finest for was, space in zip(before, spaces, strict=True)]
