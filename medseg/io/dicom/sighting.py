"""A stack at a glance: what its headers alone tell, and whether it would be read."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.errors import StudyError
from medseg.io.dicom.pixels import check_pixels, check_size
from medseg.io.dicom.placing import placed
from medseg.io.dicom.series import check_scales, kind_of
from medseg.io.dicom.stacks import Pile
from medseg.io.dicom.suv import suv_factor
from medseg.io.geometry import SHEAR_DEGREES
from medseg.io.sizes import by

READY = "ready"


@dataclass(frozen=True)
class Sighting:
    """A stack in a few words, none of them free text of its header.

    ``state`` is "ready", a code, or what is unusual about a stack that would be read; ``told`` is
    the whole sentence of a code, empty without one.
    """

    series: str
    size: str
    voxel_mm: str
    state: str = READY
    told: str = ""


def sighted(pile: Pile) -> Sighting:
    """A stack as reading it with default options would find it; no pixel is unpacked."""
    state, told, sides = READY, "", (pile.planes[0].spacing or ())[::-1]
    try:
        for header in pile.headers:
            check_pixels(header)
            check_size(header)
        grid = placed(pile).grid
        sides = grid.spacing_mm
        check_scales(pile.headers, pile.planes)
        if pile.header.modality == "PT":
            suv_factor(pile.header.path)
        if grid.shear_degrees > SHEAR_DEGREES:
            state = f"tilted {grid.shear_degrees:.1f} degrees"
    except StudyError as error:
        state, told = error.code, error.message
    stack = f" stack {pile.place}" if pile.of > 1 else ""
    return Sighting(
        series=f"{kind_of(pile)}{stack}",
        size=by((pile.header.columns, pile.header.rows, len(pile.planes))),
        voxel_mm=" x ".join(f"{side:.3g}" for side in sides) or "-",
        state=state,
        told=told,
    )
