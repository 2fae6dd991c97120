"""Masks to outlines and outlines to masks, without a voxel's difference.

Outlines run along the edges of pixels, so that every centre is clearly inside or outside,
whatever rule a reader has for points on a line. Coordinates are continuous indices (i, j) with
the first pixel's centre at (0, 0). A pixel is inside where a line from its centre crosses
outlines an odd number of times (even-odd).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
Corner = tuple[int, int]
_STEPS: tuple[Corner, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))


def filled(rings: Iterable[Ring], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (I, J) whose centres are inside ``rings (N, 2)`` by the even-odd rule."""
    crossings = np.zeros((shape[0] + 1, shape[1]), np.int32)
    for ring in rings:
        first, second = ring, np.roll(ring, -1, axis=0)
        down = first[:, 1] > second[:, 1]
        low = np.where(down[:, None], second, first)
        high = np.where(down[:, None], first, second)
        begin = np.clip(np.ceil(low[:, 1]), 0, shape[1]).astype(int)
        end = np.clip(np.ceil(high[:, 1]), 0, shape[1]).astype(int)
        count = np.maximum(end - begin, 0)
        edge = np.repeat(np.arange(len(ring)), count)
        row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + begin[edge]
        slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
        at = low[edge, 0] + (row - low[edge, 1]) * slope
        column = np.clip(np.ceil(at), 0, shape[0]).astype(int)
        np.add.at(crossings, (column, row), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossings[:-1], axis=0) % 2 == 1
    return inside


def outlines(mask: NDArray[np.bool_], keyholes: bool = True) -> list[Ring]:
    """The outlines (N, 2) of a mask (I, J), its holes joined to what is around them.

    Pixels that touch at a corner alone have outlines of their own. Without ``keyholes`` a hole
    is a ring more, and what lies in two rings is outside.
    """
    rings = _rings(mask)
    outer = [ring for ring in rings if _area(ring) > 0]
    holes = [ring for ring in rings if _area(ring) < 0]
    if keyholes:
        outer = [_with_holes(ring, mine) for ring, mine in _owned(outer, holes)]
        holes = []
    return [np.array(ring, np.float64) - 0.5 for ring in (*outer, *holes)]


def _rings(mask: NDArray[np.bool_]) -> list[list[Corner]]:
    """Closed walks along pixel corners with the mask on the left; bends alone are kept."""
    padded = np.pad(mask, 1)
    ways: dict[Corner, list[int]] = defaultdict(list)
    inner = padded[1:-1, 1:-1]
    sides = (
        (inner & ~padded[1:-1, :-2], (0, 0)),
        (inner & ~padded[2:, 1:-1], (1, 0)),
        (inner & ~padded[1:-1, 2:], (1, 1)),
        (inner & ~padded[:-2, 1:-1], (0, 1)),
    )
    for way, (edges, (di, dj)) in enumerate(sides):
        for i, j in np.argwhere(edges).tolist():
            ways[i + di, j + dj].append(way)
    rings = []
    while ways:
        rings.append(_walk(ways))
    return rings


def _walk(ways: dict[Corner, list[int]]) -> list[Corner]:
    start = at = next(iter(ways))
    way = _taken(ways, at, None)
    first, ring = way, [at]
    while True:
        at = (at[0] + _STEPS[way][0], at[1] + _STEPS[way][1])
        if at == start and (start not in ways or way != (first + 1) % 4):
            break
        turned = _taken(ways, at, way)
        if turned != way:
            ring.append(at)
        way = turned
    return ring if way != first else ring[1:]


def _taken(ways: dict[Corner, list[int]], at: Corner, came: int | None) -> int:
    """The way on from a corner: to the left where there are two, to stay with the same pixel."""
    there = ways[at]
    left = None if came is None else (came + 1) % 4
    way = left if left in there else there[0]
    assert way is not None
    there.remove(way)
    if not there:
        del ways[at]
    return way


def _area(ring: Sequence[Corner]) -> float:
    points = np.array(ring, np.float64)
    after = np.roll(points, -1, axis=0)
    return float((points[:, 0] * after[:, 1] - points[:, 1] * after[:, 0]).sum() / 2)


def _owned(
    outer: list[list[Corner]], holes: list[list[Corner]]
) -> list[tuple[list[Corner], list[list[Corner]]]]:
    """Each outer ring with the holes that are directly in it."""
    mine: list[list[list[Corner]]] = [[] for _ in outer]
    areas = [_area(ring) for ring in outer]
    for hole in holes:
        # The middle of the pixel to the right of the hole's rightmost side is in the mask.
        around = [n for n, ring in enumerate(outer) if _holds(ring, _beside(hole))]
        mine[min(around, key=lambda n: areas[n])].append(hole)
    return list(zip(outer, mine, strict=True))


def _beside(hole: list[Corner]) -> tuple[float, float]:
    right = max(i for i, _ in hole)
    after = [*hole[1:], hole[0]]
    ends = [(a, b) for a, b in zip(hole, after, strict=True) if a[0] == b[0] == right]
    (_, first), (_, second) = ends[0]
    return right + 0.5, min(first, second) + 0.5


def _holds(ring: list[Corner], point: tuple[float, float]) -> bool:
    inside = False
    for (i, j), (k, m) in zip(ring, [*ring[1:], ring[0]], strict=True):
        # Sides are vertical or horizontal; those to the right at this height count.
        if i == k and min(j, m) < point[1] < max(j, m) and i > point[0]:
            inside = not inside
    return inside


def _with_holes(ring: list[Corner], holes: list[list[Corner]]) -> list[Corner]:
    """One ring, with a channel of no width from each hole to what is on its right."""
    for hole in sorted(holes, key=lambda one: -max(i for i, _ in one)):
        right = max(i for i, _ in hole)
        place = next(n for n, (i, _) in enumerate(hole) if i == right)
        turned = hole[place:] + hole[:place]
        height = turned[0][1]
        best, where = None, 0
        for n, ((i, j), (k, m)) in enumerate(zip(ring, [*ring[1:], ring[0]], strict=True)):
            upright = i == k and i >= right and min(j, m) <= height <= max(j, m)
            if upright and (best is None or i < best):
                best, where = i, n
        assert best is not None
        end = (best, height)
        ring = [*ring[: where + 1], end, *turned, turned[0], end, *ring[where + 1 :]]
    return ring
