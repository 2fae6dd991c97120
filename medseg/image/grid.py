"""Where voxels stand in the patient.

Conventions, said once: world coordinates are RAS+ millimetres, an affine maps voxel indices
(i, j, k) to the centres of voxels, arrays are indexed ``[x, y, z]``, and a field of view ends
at the outer faces of its outermost voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Affine = NDArray[np.float64]
_CODES = ("LR", "PA", "IS")


@dataclass(frozen=True, eq=False)
class Grid:
    """An affine (4, 4) to RAS+ mm and the number of voxels along each of three axes."""

    affine: Affine
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(side) for side in self.shape)
        if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise ValueError(f"an affine is (4, 4) and ends in 0 0 0 1, not {affine.tolist()}")
        if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
            raise ValueError(f"an affine is finite and of full rank, not {affine.tolist()}")
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid has three sides of at least one voxel, not {self.shape}")
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", shape)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.shape == other.shape
            and np.array_equal(self.affine, other.affine)
        )

    def __hash__(self) -> int:
        # 0.0 and -0.0 are equal, so they must not differ here.
        return hash((self.shape, (self.affine + 0.0).tobytes()))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each axis."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return (x, y, z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel; right for sheared grids as well."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axcodes(self) -> str:
        """The anatomical direction in which each axis grows, such as ``RAS`` or ``LPS``."""
        return "".join(_CODES[world][int(sign > 0)] for world, sign in self._axes())

    @property
    def shear_degrees(self) -> float:
        """How far the two axes that come nearest to each other are from a right angle."""
        columns = self.affine[:3, :3] / self.spacing_mm
        cosines = np.abs((columns.T @ columns)[np.triu_indices(3, 1)])
        return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))

    def _axes(self) -> list[tuple[int, float]]:
        """The world axis each voxel axis follows most, each taken once, and its sign."""
        cosines = self.affine[:3, :3] / self.spacing_mm
        merit = {
            worlds: sum(abs(cosines[world, axis]) for axis, world in enumerate(worlds))
            for worlds in permutations(range(3))
        }
        equals = [worlds for worlds in merit if merit[worlds] > max(merit.values()) - 1e-6]
        # Half-way between two directions, the choice must not hang on the storage order.
        best = max(equals, key=lambda worlds: _directions(cosines, worlds))
        return [(world, float(np.sign(cosines[world, axis]))) for axis, world in enumerate(best)]

    def world(self, index: ArrayLike) -> Affine:
        """World positions (..., 3) in mm of voxel indices (..., 3)."""
        points = np.asarray(index, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def _from(self, new_to_old: Affine, shape: Sequence[int]) -> Grid:
        x, y, z = shape
        return Grid(self.affine @ new_to_old, (int(x), int(y), int(z)))

    def oriented(self, axcodes: str) -> Grid:
        """The same voxels with axes turned and swapped to follow ``axcodes``.

        Raises ValueError unless ``axcodes`` names each of L/R, P/A and I/S once.
        """
        worlds = [next((w for w, pair in enumerate(_CODES) if c in pair), -1) for c in axcodes]
        if sorted(worlds) != [0, 1, 2]:
            raise ValueError(f"axcodes name each of L/R, P/A and I/S once, not {axcodes!r}")
        mine = self._axes()
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        shape = [0, 0, 0]
        for new, (code, world) in enumerate(zip(axcodes, worlds, strict=True)):
            old = next(axis for axis, (w, _) in enumerate(mine) if w == world)
            wanted = 1.0 if _CODES[world].index(code) else -1.0
            same = mine[old][1] == wanted
            turn[old, new] = 1.0 if same else -1.0
            turn[old, 3] = 0.0 if same else self.shape[old] - 1
            shape[new] = self.shape[old]
        return self._from(turn, shape)

    def cropped(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """Voxels ``start`` to ``stop`` (not included); beyond the edges the grid grows."""
        shift = np.eye(4)
        shift[:3, 3] = start
        return self._from(shift, [b - a for a, b in zip(start, stop, strict=True)])

    def spaced(self, spacing_mm: Sequence[float]) -> Grid:
        """Other voxel sizes over the same field of view, about the same centre."""
        factors = np.asarray(spacing_mm, dtype=np.float64) / self.spacing_mm
        if factors.shape != (3,) or not (np.isfinite(factors).all() and (factors > 0).all()):
            raise ValueError(f"spacing_mm is three lengths above zero, not {spacing_mm}")
        old = np.asarray(self.shape)
        # Half-way sizes round up whatever the last bits say, so that a field of view gives one
        # shape in every storage order.
        new = np.maximum(1, np.floor(np.round(old / factors, 6) + 0.5)).astype(int)
        scale = np.diag([*factors, 1.0])
        scale[:3, 3] = (old - 1) / 2 - factors * (new - 1) / 2
        return self._from(scale, new.tolist())

    def spaced_from_first(self, spacing_mm: Sequence[float]) -> Grid:
        """Other voxel sizes from the first voxel's centre on, as far as the last one's."""
        factors = np.asarray(spacing_mm, dtype=np.float64) / self.spacing_mm
        new = np.round((np.asarray(self.shape) - 1) / factors + 1)
        return self._from(np.diag([*factors, 1.0]), new.astype(int).tolist())

    def resized(self, shape: Sequence[int]) -> Grid:
        """As many voxels as ``shape`` says over the same field of view, to its very edges."""
        factors = np.asarray(self.shape) / np.asarray(shape)
        scale = np.diag([*factors, 1.0])
        scale[:3, 3] = 0.5 * factors - 0.5
        return self._from(scale, shape)

    def transposed(self, axes: Sequence[int]) -> Grid:
        """The same voxels; axis i is the old axis ``axes[i]``."""
        turn = np.zeros((4, 4))
        turn[[*axes, 3], [0, 1, 2, 3]] = 1
        return self._from(turn, [self.shape[axis] for axis in axes])

    def near(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether every corner voxel of both grids is at the same place."""
        if self.shape != other.shape:
            return False
        return self.farthest_corner_mm(other) <= tolerance_mm

    def farthest_corner_mm(self, other: Grid) -> float:
        """The largest distance between corners of the same index, over this grid's shape."""
        far = np.array(self.shape) - 1
        corners = np.stack(np.meshgrid(*((0, side) for side in far), indexing="ij"), -1)
        apart = self.world(corners) - other.world(corners)
        return float(np.sqrt((apart**2).sum(-1)).max())


def _directions(cosines: Affine, worlds: Sequence[int]) -> list[float]:
    """Where the axes that stand for x, y and z point, each turned to grow with its own."""
    axes = np.argsort(worlds)
    turned = cosines[:, axes] * np.sign(np.diagonal(cosines[:, axes]))
    return [float(one) for one in np.round(turned, 6).T.ravel()]
