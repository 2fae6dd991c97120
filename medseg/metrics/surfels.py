"""The area of a surface in each 2x2x2 neighbourhood of voxels, by marching cubes.

The fewer of the eight corners, those inside or those outside, fall into pieces that hang together
by edges of the cube, and each piece is cut off by triangles through the middles of edges (Lorensen
and Cline 1987, doi:10.1145/37401.37422). These are the surface elements of DeepMind's
surface-distance (Nikolov et al. 2021, doi:10.2196/26151).
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int, int]
_CORNERS = tuple((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1))
# One of each kind of piece, and its triangles as vectors at right angles to them, as long as the
# area is large, in eighths of a voxel's face.
_PIECES: tuple[tuple[tuple[Corner, ...], tuple[Corner, ...]], ...] = (
    (((0, 0, 0),), ((1, 1, 1),)),
    (((0, 0, 0), (0, 0, 1)), ((4, 4, 0),)),
    (((0, 0, 0), (0, 1, 0), (0, 0, 1)), ((4, 0, 0), (3, 3, 3))),
    (((0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)), ((8, 0, 0),)),
    (((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)), ((6, 6, 6),)),
    (((0, 1, 1), (1, 1, 1), (1, 1, 0), (1, 0, 0)), ((4, 4, 4), (0, -2, 2), (-2, 0, 2))),
)


def surfel_areas(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area in mm2 of the surface in a neighbourhood, by its code (256,).

    Bit j + 2 i + 4 k of a code is the corner (i, j, k). ``affine (4, 4)`` leads from indices to
    mm: oblique and sheared grids have the areas that they have in the patient.
    """
    linear = affine[:3, :3]
    to_area = np.linalg.det(linear) * np.linalg.inv(linear).T / 8
    of_piece = {
        piece: float(np.mean([_area(way, to_area) for way in ways]))
        for piece, ways in _turned_pieces().items()
    }
    return np.array([sum(of_piece[piece] for piece in _pieces_of(code)) for code in range(256)])


def _area(triangles: tuple[Corner, ...], to_area: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.array(triangles) @ to_area.T, axis=1).sum())


@cache
def _turned_pieces() -> dict[frozenset[Corner], set[tuple[Corner, ...]]]:
    """Every piece in each of the 48 ways a cube can be turned and mirrored.

    A piece of four corners in a row can be cut in two ways, which differ where a grid is sheared;
    their mean is taken, so that the order in which axes are stored changes nothing.
    """
    found: dict[frozenset[Corner], set[tuple[Corner, ...]]] = {}
    for corners, triangles in _PIECES:
        for axes in permutations(range(3)):
            for flips in product((0, 1), repeat=3):
                piece = frozenset(
                    tuple(corner[a] ^ flip for a, flip in zip(axes, flips, strict=True))
                    for corner in corners
                )
                way = tuple(
                    sorted(
                        tuple(one[a] * (1 - 2 * flip) for a, flip in zip(axes, flips, strict=True))
                        for one in triangles
                    )
                )
                found.setdefault(piece, set()).add(way)  # type: ignore[arg-type]
    return found


@cache
def _pieces_of(code: int) -> tuple[frozenset[Corner], ...]:
    """The pieces that the fewer corners of a code fall into."""
    inside = {(i, j, k) for i, j, k in _CORNERS if code >> (j + 2 * i + 4 * k) & 1}
    left = inside if len(inside) <= 4 else set(_CORNERS) - inside
    left = set(left)
    pieces = []
    while left:
        piece, edge = set[Corner](), {left.pop()}
        while edge:
            piece |= edge
            edge = {b for b in left if any(_apart(a, b) == 1 for a in edge)}
            left -= edge
        pieces.append(frozenset(piece))
    return tuple(pieces)


def _apart(one: Corner, other: Corner) -> int:
    """Edges of the cube between two corners."""
    return sum(a != b for a, b in zip(one, other, strict=True))
