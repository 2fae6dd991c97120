"""The place of images whose headers hold one affine: NRRD and MetaImage."""

from __future__ import annotations

from medseg.errors import Caution
from medseg.io.geometry import Affine, Geometry, checked_grid, shear_cautions, with_normal


def located_at(
    affine: Affine, cautions: tuple[Caution, ...], frames: tuple[int, int, int, int], axes: int
) -> tuple[Geometry, tuple[Caution, ...]]:
    """The geometry of an affine (4, 4) to RAS+ mm, as a mask in NIfTI will carry it.

    Of ``axes`` 2 the third column is not looked at.

    Raises StudyError E_GEOMETRY_SINGULAR or E_SPACING.
    """
    if axes < 3:
        with_normal(affine)
        cautions += (Caution("W_SPACING", "a 2-D image without a thickness; 1 mm was taken"),)
    grid = checked_grid(affine, frames[:3])
    dims = frames if frames[3] > 1 else frames[:3]
    return Geometry.of(grid, dims), cautions + shear_cautions(grid)
