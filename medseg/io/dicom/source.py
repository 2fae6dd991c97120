"""What a SEG or an RTSTRUCT takes over from the scan it is drawn on, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import StudyError
from medseg.image.study import Stack
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.package import pydicom, understood
from medseg.io.dicom.placing import Placed
from medseg.io.dicom.series import headers_of
from medseg.io.dicom.stacks import Pile
from medseg.io.options import ReadOptions

_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID")
_MORE = ("AccessionNumber", "SpecificCharacterSet", "TimezoneOffsetFromUTC")
HANDED_ON = (*_PATIENT, *_STUDY, *_MORE)
"""What names the patient and the visit; comments, addresses and the like stay behind."""


@dataclass(frozen=True)
class Source:
    """A scan's slices in their order on its grid, and the tags of one of them."""

    pile: Pile
    placed: Placed
    first: Any

    @property
    def folder(self) -> Path:
        """Where the first slice lies."""
        return self.pile.header.path.parent

    def instance(self, place: int) -> tuple[str, str, int] | None:
        """Class, number and frame (from 1; 0 in a file of one) of a slice; None where it is
        missing.
        """
        if place not in self.placed.at:
            return None
        plane = self.placed.planes[self.placed.at.index(place)]
        header = next(one for one in self.pile.headers if one.path == plane.path)
        frame = plane.frame + 1 if len(header.planes) > 1 else 0
        return header.sop_class, header.instance, frame

    def handed_on(self, made: Any) -> None:
        """Give ``made`` the patient and the study of the scan: what is known, and else empty."""
        with understood(self.pile.header.path):
            for name in HANDED_ON:
                value = self.first.get(name)
                if value is not None:
                    setattr(made, name, value)
                elif name not in _MORE or name == "AccessionNumber":
                    setattr(made, name, "")
            made.FrameOfReferenceUID = self.pile.header.frame_of_reference
            made.PositionReferenceIndicator = ""


def source_of(image: Path | Stack, options: ReadOptions | None = None) -> Source:
    """The slices of a scan that masks are to refer to.

    Raises StudyError as reading it does, and E_DICOM_TAG without what others refer to it by.
    """
    pile, place = headers_of(image, options)
    header = pile.header
    needed = {
        "StudyInstanceUID": header.study,
        "SeriesInstanceUID": header.series,
        "SOPInstanceUID": header.instance,
        "FrameOfReferenceUID": header.frame_of_reference,
    }
    for tag, value in needed.items():
        if not value:
            raise StudyError(
                "E_DICOM_TAG", f"has no {tag}, so nothing can refer to it", header.path
            )
    return Source(pile, place, read_dataset(header.path))


def new_uid() -> str:
    """A number that nothing else has."""
    return str(pydicom().uid.generate_uid(prefix=None))
