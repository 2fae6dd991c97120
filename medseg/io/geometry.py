"""A scan's own numbers for its place in the patient, and what they amount to.

A mask carries the numbers of its scan bit for bit; what is computed with them is a ``Grid``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid

Affine = NDArray[np.float64]
Floats = tuple[float, ...]
SPACING_MM = (0.01, 100.0)
SHEAR_DEGREES = 0.2
_FARTHEST_MM = 1e9
NIFTI1_LONGEST = 32767


@dataclass(frozen=True)
class Geometry:
    """What a NIfTI header says of dimensions and place, and the grid that rules.

    ``dims`` are the sides as the header counts them, (X, Y), (X, Y, Z) or (X, Y, Z, frames);
    ``pixdim`` has 8 numbers, ``quaternion`` b, c and d, ``srow`` the 12 numbers of the sform's
    rows; all of them in the units of ``xyzt_units``. ``grid`` is in mm.
    """

    grid: Grid
    dims: tuple[int, ...]
    version: Literal[1, 2]
    pixdim: Floats
    quaternion: Floats
    offset: Floats
    srow: Floats
    qform_code: int
    sform_code: int
    xyzt_units: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.grid.shape

    @property
    def affine(self) -> Affine:
        """Voxel indices to RAS+ mm, (4, 4)."""
        return self.grid.affine

    @classmethod
    def of(cls, grid: Grid, dims: tuple[int, ...] | None = None) -> Geometry:
        """The header numbers for a grid that comes from elsewhere.

        An sform (code 1, scanner) in mm; beside it a qform wherever one can say the same,
        which a sheared grid's cannot. NIfTI-1 unless a side is too long for it; there,
        numbers are rounded to float32.
        """
        dims = dims or grid.shape
        b, c, d, qfac = quaternion_of(grid.affine)
        pixdim = (qfac, *grid.spacing_mm, *(0.0,) * 4)
        offset = tuple(grid.affine[:3, 3].tolist())
        says_same = Grid(qform_affine((b, c, d), offset, pixdim), grid.shape)
        return cls(
            grid=grid,
            dims=dims,
            version=1 if max(dims) <= NIFTI1_LONGEST else 2,
            pixdim=pixdim,
            quaternion=(b, c, d),
            offset=offset,
            srow=tuple(grid.affine[:3].ravel().tolist()),
            qform_code=int(grid.near(says_same, 0.01)),
            sform_code=1,
            xyzt_units=2,
        )


def tolerance_mm(grid: Grid) -> float:
    """How far corners may be apart for two grids to count as one.

    The largest of 0.01 mm, 5 % of the smallest voxel side and 0.1 % of the longest edge: a
    quaternion in float32 is good to some 3e-4 rad where scans lie as LPS.
    """
    edge = max(side * mm for side, mm in zip(grid.shape, grid.spacing_mm, strict=True))
    return max(0.01, 0.05 * min(grid.spacing_mm), 0.001 * edge)


def qform_affine(quaternion: Floats, offset: Floats, pixdim: Floats) -> Affine:
    """The affine (4, 4) that a NIfTI quaternion, offset and pixdim amount to.

    Raises StudyError E_GEOMETRY_SINGULAR for a quaternion longer than one or not of numbers.
    """
    b, c, d = quaternion
    square = b * b + c * c + d * d
    if not square < 1.001:
        raise StudyError(
            "E_GEOMETRY_SINGULAR",
            f"the qform's quaternion ({b:g}, {c:g}, {d:g}) is no rotation; repair the header",
        )
    length = max(1.0, np.sqrt(square))
    b, c, d = b / length, c / length, d / length
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * pixdim[1:4]
    if pixdim[0] < 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = offset
    return affine


def quaternion_of(affine: ArrayLike) -> tuple[float, float, float, float]:
    """The b, c and d of the rotation nearest to an affine, and qfac (1, or -1 if mirrored)."""
    columns = np.array(affine, dtype=np.float64)[:3, :3]
    columns = columns / np.sqrt((columns**2).sum(axis=0))
    left, _, right = np.linalg.svd(columns)
    turn = left @ right
    qfac = 1.0 if np.linalg.det(turn) > 0 else -1.0
    turn[:, 2] *= qfac
    # The eigenvector of this symmetric matrix is the quaternion: stable for every angle, also
    # near 180 degrees, where the usual case (LPS) lies.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    bar_itzhack = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(bar_itzhack)[1][:, -1].tolist()
    sign = -1.0 if a < 0 else 1.0
    return sign * b, sign * c, sign * d, qfac


def with_normal(affine: Affine) -> None:
    """Give the affine of a 2-D image its third axis in place: at right angles, of length 1."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] = normal / (np.sqrt((normal**2).sum()) or 1.0)


def checked_grid(affine: Affine, shape: tuple[int, int, int]) -> Grid:
    """A grid from an affine in mm that can stand for a place in a patient.

    Raises StudyError E_GEOMETRY_SINGULAR, or E_SPACING outside 0.01 to 100 mm.
    """
    if not (np.abs(affine) < _FARTHEST_MM).all():
        raise StudyError("E_GEOMETRY_SINGULAR", "the affine holds NaN, infinite or huge numbers")
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    low, high = SPACING_MM
    if not spacing.all():
        raise StudyError("E_GEOMETRY_SINGULAR", "an axis of the affine has no length")
    if not ((spacing >= low * (1 - 1e-6)) & (spacing <= high * (1 + 1e-6))).all():
        told = " x ".join(f"{side:g}" for side in spacing)
        raise StudyError("E_SPACING", f"voxels of {told} mm; {low} to {high:g} mm are believed")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise StudyError(
            "E_GEOMETRY_SINGULAR", "the affine's axes lie in one plane; repair the header"
        )
    return Grid(affine, shape)


def shear_cautions(grid: Grid) -> tuple[Caution, ...]:
    """W_GEOMETRY_SHEAR where axes are not at right angles."""
    if grid.shear_degrees <= SHEAR_DEGREES:
        return ()
    told = (
        f"the axes are {grid.shear_degrees:.1f} degrees from right angles (gantry tilt?);"
        " the mask keeps them"
    )
    return (Caution("W_GEOMETRY_SHEAR", told),)
