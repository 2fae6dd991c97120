"""What a DICOM file says of itself before its pixels: read by a list of tags, none of them names.

Numbers are as DICOM has them: LPS millimetres, rows before columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.package import understood
from medseg.io.dicom.values import (
    Floats,
    number_of,
    numbers_of,
    scale_of,
    text_of,
    whole_of,
    words_of,
)

Kind = Literal["image", "contours", "segments", "other"]
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
SCANS = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.4", "20", "128", "128.1", "130")
)
"""Classes of objects that are CT, MR or nuclear images, whatever else is one."""
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("SeriesNumber", "SeriesDescription", "ImageType", "FrameOfReferenceUID", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber"),
    *("DiffusionBValue", "TriggerTime", "InversionTime", "CardiacNumberOfImages"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("FloatPixelData", "DoubleFloatPixelData"),
)
PET_TAGS = (
    *("Units", "SUVType", "DecayCorrection", "CorrectedImage", "PatientWeight", "SeriesDate"),
    *("SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime"),
    *("ActualFrameDuration", "RadiopharmaceuticalInformationSequence"),
)
PRIVATE_PET_TAGS = (0x00090010, 0x0009100D, 0x70530010, 0x70531000, 0x70531009)


@dataclass(frozen=True)
class Plane:
    """One slice: a file and the frame in it (from 0), where it lies, and how it is scaled."""

    path: Path
    frame: int
    position: Floats | None
    orientation: Floats | None
    spacing: Floats | None
    """Between rows, then between columns."""
    slope: float = 1.0
    inter: float = 0.0
    thickness: float | None = None
    between: float | None = None
    traits: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What tells stacks apart that lie at the same places: echo, phase, acquisition."""
    words: tuple[str, ...] = ()
    """The image type, in capitals."""


@dataclass(frozen=True)
class Header:
    """What a file is, the series it is of, the form of its pixels, and its slices."""

    path: Path
    kind: Kind
    sop_class: str
    instance: str
    study: str
    series: str
    modality: str
    number: int | None
    description: str
    frame_of_reference: str
    syntax: str
    rows: int = 0
    columns: int = 0
    samples: int = 1
    photometric: str = ""
    bits: int = 16
    stored: int = 16
    signed: bool = False
    scaled_by_table: bool = False
    planes: tuple[Plane, ...] = ()


def read_header(path: Path) -> Header:
    """The header of one DICOM file. Raises StudyError as ``read_dataset``, and E_DICOM_TAG."""
    found = read_dataset(path, _TAGS)
    with understood(path):
        return _header(path, found)


def _header(path: Path, found: Any) -> Header:
    meta = getattr(found, "file_meta", None) or {}
    sop_class = text_of(found, "SOPClassUID") or text_of(meta, "MediaStorageSOPClassUID")
    syntax = text_of(meta, "TransferSyntaxUID")
    rows, columns = whole_of(found, "Rows") or 0, whole_of(found, "Columns") or 0
    kind = _kind(sop_class, rows * columns)
    return Header(
        path=path,
        kind=kind,
        sop_class=sop_class,
        instance=text_of(found, "SOPInstanceUID"),
        study=text_of(found, "StudyInstanceUID"),
        series=text_of(found, "SeriesInstanceUID"),
        modality=text_of(found, "Modality").upper(),
        number=whole_of(found, "SeriesNumber"),
        description=text_of(found, "SeriesDescription"),
        frame_of_reference=text_of(found, "FrameOfReferenceUID"),
        syntax=syntax or "1.2.840.10008.1.2",
        rows=rows,
        columns=columns,
        samples=whole_of(found, "SamplesPerPixel") or 1,
        photometric=text_of(found, "PhotometricInterpretation").upper(),
        bits=whole_of(found, "BitsAllocated") or 16,
        stored=whole_of(found, "BitsStored") or whole_of(found, "BitsAllocated") or 16,
        signed=whole_of(found, "PixelRepresentation") == 1,
        scaled_by_table="ModalityLUTSequence" in found,
        planes=_planes(path, found) if kind in ("image", "segments") else (),
    )


def _kind(sop_class: str, pixels: int) -> Kind:
    if sop_class == RTSTRUCT:
        return "contours"
    if sop_class in SEGMENTATIONS:
        return "segments"
    return "image" if pixels and sop_class != _DOSE else "other"


def _planes(path: Path, found: Any) -> tuple[Plane, ...]:
    count = max(1, whole_of(found, "NumberOfFrames") or 1)
    each = found.get("PerFrameFunctionalGroupsSequence")
    if each:
        shared = found.get("SharedFunctionalGroupsSequence") or [{}]
        return tuple(
            _frame(path, place, own, shared[0]) for place, own in enumerate(list(each)[:count])
        )
    place = numbers_of(found, "ImagePositionPatient", 3) if count == 1 else None
    plane = Plane(
        path=path,
        frame=0,
        position=place,
        orientation=numbers_of(found, "ImageOrientationPatient", 6),
        spacing=numbers_of(found, "PixelSpacing", 2),
        slope=scale_of(found, "RescaleSlope", 1.0),
        inter=scale_of(found, "RescaleIntercept", 0.0),
        thickness=number_of(found, "SliceThickness"),
        between=number_of(found, "SpacingBetweenSlices"),
        traits=_traits(found),
        words=words_of(found, "ImageType"),
    )
    return (plane,) if count == 1 else tuple(_numbered(plane, place) for place in range(count))


def _numbered(plane: Plane, frame: int) -> Plane:
    return replace(plane, frame=frame)


def _traits(found: Any) -> Mapping[str, Any]:
    said = {
        "echo": number_of(found, "EchoTime"),
        "echo number": whole_of(found, "EchoNumbers"),
        "inversion": number_of(found, "InversionTime"),
        "b-value": number_of(found, "DiffusionBValue"),
        "phase": whole_of(found, "TemporalPositionIdentifier"),
        "trigger": number_of(found, "TriggerTime"),
        "image type": "/".join(words_of(found, "ImageType")) or None,
        "acquisition": whole_of(found, "AcquisitionNumber"),
    }
    return MappingProxyType({name: value for name, value in said.items() if value is not None})


def _frame(path: Path, place: int, own: Any, shared: Any) -> Plane:
    """A frame of an enhanced object: its own functional groups, or else the shared ones."""

    def group(name: str) -> Any:
        for groups in (own, shared):
            items = groups.get(name)
            if items:
                return items[0]
        return {}

    measures, content = group("PixelMeasuresSequence"), group("FrameContentSequence")
    values = group("PixelValueTransformationSequence")
    types = group("MRImageFrameTypeSequence") or group("CTImageFrameTypeSequence")
    types = types or group("PETFrameTypeSequence")
    words = words_of(types, "FrameType")
    said = {
        "segment": whole_of(group("SegmentIdentificationSequence"), "ReferencedSegmentNumber"),
        "stack": text_of(content, "StackID") or None,
        "echo": number_of(group("MREchoSequence"), "EffectiveEchoTime"),
        "b-value": number_of(group("MRDiffusionSequence"), "DiffusionBValue"),
        "phase": whole_of(content, "TemporalPositionIndex"),
        "image type": "/".join(words) or None,
        "acquisition": whole_of(content, "FrameAcquisitionNumber"),
    }
    return Plane(
        path=path,
        frame=place,
        position=numbers_of(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=numbers_of(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=numbers_of(measures, "PixelSpacing", 2),
        slope=scale_of(values, "RescaleSlope", 1.0),
        inter=scale_of(values, "RescaleIntercept", 0.0),
        thickness=number_of(measures, "SliceThickness"),
        between=number_of(measures, "SpacingBetweenSlices"),
        traits=MappingProxyType({name: value for name, value in said.items() if value is not None}),
        words=words,
    )
