"""Solids as signed distances in mm: negative inside, positive outside, zero on the surface.

A shape is a function of points ``(3, ...)`` in RAS+ mm. Distances are right to first order near
the surface, which is what partial volume needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Distance = NDArray[np.float32]
Shape = Callable[[Points], Distance]
Triple = Sequence[float]


def ellipsoid(centre: Triple, radii: Triple, turn: NDArray[np.float64] | None = None) -> Shape:
    """A solid ellipsoid, turned about its centre."""
    middle = np.asarray(centre, np.float32)
    matrix = np.eye(3) if turn is None else turn.T
    lengths = np.asarray(radii, np.float32)

    def distance(points: Points) -> Distance:
        local = np.tensordot(
            matrix.astype(np.float32), points - middle.reshape(3, *[1] * (points.ndim - 1)), 1
        )
        scaled = local / lengths.reshape(3, *[1] * (points.ndim - 1))
        radius = np.sqrt((scaled**2).sum(0))
        slope = np.sqrt(
            ((scaled / lengths.reshape(3, *[1] * (points.ndim - 1))) ** 2).sum(0)
        ) / np.maximum(radius, 1e-3)
        return (radius - 1) / np.maximum(slope, 1e-3)

    return distance


def tube(points_on: Sequence[Triple], radius: float) -> Shape:
    """A tube of one radius along a line of points."""
    line = np.asarray(points_on, np.float32)

    def distance(points: Points) -> Distance:
        best = np.full(points.shape[1:], np.inf, np.float32)
        for start, end in pairwise(line):
            along = end - start
            offset = points - start.reshape(3, *[1] * (points.ndim - 1))
            share = np.tensordot(along, offset, 1) / float(along @ along)
            nearest = np.clip(share, 0, 1)[None] * along.reshape(3, *[1] * (points.ndim - 1))
            np.minimum(best, np.sqrt(((offset - nearest) ** 2).sum(0)), out=best)
        return best - np.float32(radius)

    return distance


def union(*shapes: Shape, blend_mm: float = 1.0) -> Shape:
    """All of several shapes; edges between them are rounded over ``blend_mm``."""

    def distance(points: Points) -> Distance:
        total = shapes[0](points)
        for shape in shapes[1:]:
            other = shape(points)
            share = np.clip(0.5 + 0.5 * (other - total) / blend_mm, 0, 1)
            total = other * (1 - share) + total * share - blend_mm * share * (1 - share)
        return np.asarray(total, np.float32)

    return distance


def both(*shapes: Shape) -> Shape:
    """What lies in every one of several shapes."""
    return lambda points: np.maximum.reduce([shape(points) for shape in shapes])


def outside(shape: Shape) -> Shape:
    """Everything but a shape."""
    return lambda points: -shape(points)


def grown(shape: Shape, by_mm: float) -> Shape:
    """A shape with a margin; a negative one makes it smaller."""
    return lambda points: shape(points) - np.float32(by_mm)


def waves(chance: np.random.Generator, length_mm: float, count: int = 10) -> Shape:
    """A smooth random field of about unit deviation; a sum of plane waves near one length."""
    directions = chance.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    numbers = 2 * np.pi / (length_mm * chance.uniform(0.75, 1.4, count))
    vectors = (directions * numbers[:, None]).astype(np.float32)
    phases = chance.uniform(0, 2 * np.pi, count).astype(np.float32)

    def field(points: Points) -> Distance:
        total = np.zeros(points.shape[1:], np.float32)
        for vector, phase in zip(vectors, phases, strict=True):
            total += np.cos(np.tensordot(vector, points, 1) + phase)
        return total * np.float32(np.sqrt(2 / count))

    return field


def rough(shape: Shape, field: Shape, height_mm: float) -> Shape:
    """A shape whose surface follows a field up and down."""
    return lambda points: shape(points) + np.float32(height_mm) * field(points)


def turned(degrees: Triple) -> NDArray[np.float64]:
    """The rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(3)
        i, j = [other for other in range(3) if other != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    return matrix
