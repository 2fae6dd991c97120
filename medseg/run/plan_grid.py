"""The grid that a planned network sees: its spacing, how large a scan is on it, 2D or 3D."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from medseg.run.fingerprint import Fingerprint
from medseg.run.wishes import THICK, Wish


def spacing_of(found: Fingerprint, wish: Wish) -> tuple[tuple[float, ...], str]:
    """The median; along thick slices finer, and for a low stage coarser."""
    middle = list(found.spacing_mm)
    why = "The median spacing of all studies."
    thick = max(range(3), key=lambda axis: middle[axis])
    others = [middle[axis] for axis in range(3) if axis != thick]
    few = found.shape[thick] * THICK < min(n for a, n in enumerate(found.shape) if a != thick)
    if middle[thick] >= THICK * max(others) and few:
        tenth = sorted(one[thick] for one in found.spacings_mm)[found.studies // 10]
        middle[thick] = max(tenth, *others)
        why = "Medians; across the thick slices the 10th percentile, or thin ones would be lost."
    if wish.stage == "low":
        side = max(middle)
        while prod(found.shape) * prod(found.spacing_mm) / side**3 > 128**3:
            side *= 1.1
        middle = [max(one, side) for one in middle]
        why = "So coarse that a whole scan is about one window of 128 voxels a side."
    return tuple(round(one, 3) for one in middle), why


def shape_of(found: Fingerprint, spacing: Sequence[float], wish: Wish) -> tuple[int, ...]:
    """The median scan in voxels of ``spacing``; of what is cropped to where there is a crop."""
    sides = [n * mm for n, mm in zip(found.shape, found.spacing_mm, strict=True)]
    if wish.within is not None and found.extents_mm:
        middle = [sorted(axis)[len(axis) // 2] for axis in zip(*found.extents_mm, strict=True)]
        sides = [min(s, m + 2 * wish.margin_mm) for s, m in zip(sides, middle, strict=True)]
    return tuple(max(1, round(s / mm)) for s, mm in zip(sides, spacing, strict=True))


def flat_of(spacing: Sequence[float], shape: Sequence[int], wish: Wish) -> tuple[int | None, str]:
    """The axis across slices where the network is to see slices alone, and why."""
    thick = max(range(3), key=lambda axis: (spacing[axis], -shape[axis]))
    if wish.dims == "2":
        return thick, "In 2D, as was asked for; across the axis with the coarsest spacing."
    if wish.dims == "auto" and shape[thick] < 8:
        return thick, f"In 2D: a scan has {shape[thick]} slices, too few to be seen in depth."
    return None, "In 3D: there are slices enough to be seen in depth."
