"""Where a NIfTI header places its voxels, when sform and qform may both have a say."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medseg.errors import Caution, StudyError
from medseg.image import Grid
from medseg.io.geometry import (
    Affine,
    Floats,
    Geometry,
    checked_grid,
    qform_affine,
    shear_cautions,
    tolerance_mm,
    with_normal,
)
from medseg.io.nifti_header import NiftiHeader

Rule = Literal["agree", "sform", "qform"]
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNITS = {1: "metres", 3: "microns"}
_SPACING_RTOL = 0.01


def located(header: NiftiHeader, rule: Rule) -> tuple[Geometry, tuple[Caution, ...]]:
    """The geometry of a NIfTI header: the sform rules where its code is above 0.

    Where both are set they must agree within ``tolerance_mm``, or ``rule`` says which one is
    believed. Raises StudyError E_GEOMETRY_MISSING, E_GEOMETRY_CONFLICT, E_GEOMETRY_SINGULAR or
    E_SPACING.
    """
    fields = header.fields
    sform_code, qform_code = int(fields["sform_code"]), int(fields["qform_code"])
    by_sform, by_qform = sform_code > 0, qform_code > 0
    if not (by_sform or by_qform):
        raise StudyError(
            "E_GEOMETRY_MISSING",
            "sform and qform are both unset, so left and right are not known; set them from the"
            " original",
        )
    units, factor, cautions = _units(int(fields["xyzt_units"]))
    pixdim = _pixdim(header, by_qform and not (rule == "sform" and by_sform))
    if by_sform and by_qform and rule == "agree":
        grid = _agreed(_sform(header, factor), _qform(header, pixdim, factor))
    elif by_sform and not (rule == "qform" and by_qform):
        grid = _sform(header, factor)
    else:
        grid, by_sform = _qform(header, pixdim, factor), False
    if by_sform:
        cautions += _spacing_cautions(pixdim[1 : 1 + min(3, len(header.dims))], grid, factor)
    cautions += _thin_cautions(header, by_sform)
    geometry = Geometry(
        grid=grid,
        dims=header.dims,
        version=header.version,
        pixdim=_floats(fields["pixdim"]),
        quaternion=_floats(fields["quatern"]),
        offset=_floats(fields["qoffset"]),
        srow=_floats(fields["srow"]),
        qform_code=qform_code,
        sform_code=sform_code,
        xyzt_units=units,
    )
    return geometry, cautions + shear_cautions(grid)


def _floats(field: np.ndarray) -> Floats:
    with np.errstate(invalid="ignore"):  # some NaN complain of being widened
        return tuple(field.astype(np.float64).tolist())


def _units(code: int) -> tuple[int, float, tuple[Caution, ...]]:
    spatial = code & 7
    if spatial in _UNITS:
        told = f"the header counts in {_UNITS[spatial]}; lengths were turned into mm"
        return code, _TO_MM[spatial], (Caution("W_UNITS", told),)
    if spatial not in _TO_MM:
        told = f"the unit of length {spatial} is none of NIfTI's; it was taken for mm"
        return code, 1.0, (Caution("W_UNITS", told),)
    return code, 1.0, ()


def _pixdim(header: NiftiHeader, needed: bool) -> Floats:
    """The pixdim to work with: NaN is never believed, zero and less not where it is needed."""
    pixdim = _floats(header.fields["pixdim"])
    if len(header.dims) == 2 and pixdim[3] == 0:
        pixdim = (*pixdim[:3], 1.0, *pixdim[4:])
    sizes = np.array(pixdim[1:4])
    if not np.isfinite(sizes).all() or (needed and (sizes <= 0).any()):
        told = ", ".join(f"{size:g}" for size in pixdim[1:4])
        raise StudyError("E_SPACING", f"pixdim is {told}; voxel sizes are above 0 mm")
    return pixdim


def _thin_cautions(header: NiftiHeader, by_sform: bool) -> tuple[Caution, ...]:
    thickness = header.fields["srow"][2::4].any() if by_sform else header.fields["pixdim"][3]
    if len(header.dims) > 2 or thickness:
        return ()
    return (Caution("W_SPACING", "a 2-D image without a thickness; 1 was taken"),)


def _sform(header: NiftiHeader, factor: float) -> Grid:
    affine: Affine = np.eye(4)
    affine[:3] = np.array(_floats(header.fields["srow"])).reshape(3, 4)
    if len(header.dims) == 2 and not affine[:3, 2].any():
        with_normal(affine)
    return _in_mm(affine, header, factor)


def _qform(header: NiftiHeader, pixdim: Floats, factor: float) -> Grid:
    fields = header.fields
    affine = qform_affine(_floats(fields["quatern"]), _floats(fields["qoffset"]), pixdim)
    return _in_mm(affine, header, factor)


def _in_mm(affine: Affine, header: NiftiHeader, factor: float) -> Grid:
    affine[:3] *= factor
    return checked_grid(affine, header.frames[:3])


def _agreed(sform: Grid, qform: Grid) -> Grid:
    apart = sform.farthest_corner_mm(qform)
    if apart > tolerance_mm(sform):
        raise StudyError(
            "E_GEOMETRY_CONFLICT",
            f"sform ({sform.axcodes}) and qform ({qform.axcodes}) put corners up to {apart:.2f} mm"
            " apart; find out which is right and set input: {geometry: sform} or qform",
        )
    return sform


def _spacing_cautions(sizes: Floats, grid: Grid, factor: float) -> tuple[Caution, ...]:
    said = np.array(sizes) * factor
    if np.allclose(said, grid.spacing_mm[: len(said)], rtol=_SPACING_RTOL, atol=0):
        return ()
    told = (
        f"pixdim says {_mm(said.tolist())} and the sform {_mm(grid.spacing_mm)};"
        " the sform was believed"
    )
    return (Caution("W_SPACING", told),)


def _mm(sizes: tuple[float, ...] | list[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes) + " mm"
