"""What a DICOM file says of itself before its pixels: read by a list of tags, none of them names.

Numbers are as DICOM has them: LPS millimetres, rows before columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from medseg.errors import StudyError
from medseg.io.dicom.package import pydicom, quiet, understood

Floats = tuple[float, ...]
Kind = Literal["image", "contours", "segments", "other"]
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
SCANS = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.4", "20", "128", "128.1", "130")
)
"""Classes of objects that are CT, MR or nuclear images, whatever else is one."""
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 1 << 30
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


def read_dataset(path: Path, tags: Iterable[Any] | None = None) -> Any:
    """A file's dataset without its pixels, of ``tags`` alone where they are given.

    Raises StudyError E_TRUNCATED, E_NOT_AN_IMAGE, E_PERMISSION or E_NOT_FOUND; none of them
    quotes what the file says.
    """
    reader = pydicom()
    wanted = None if tags is None else list(tags)
    try:
        with quiet():
            return reader.dcmread(
                _bounded(path), stop_before_pixels=True, force=True, specific_tags=wanted
            )
    except FileNotFoundError:
        raise StudyError("E_NOT_FOUND", "is not there", path) from None
    except PermissionError:
        raise StudyError("E_PERMISSION", "may not be read", path) from None
    except EOFError:
        raise StudyError("E_TRUNCATED", "ends within its header; copy it again", path) from None
    except MemoryError:
        raise
    except Exception:
        raise StudyError("E_NOT_AN_IMAGE", "its DICOM header cannot be read", path) from None


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
        slope=_first(found, "RescaleSlope", 1.0),
        inter=_first(found, "RescaleIntercept", 0.0),
        thickness=_number(found, "SliceThickness"),
        between=_number(found, "SpacingBetweenSlices"),
        traits=_traits(found),
        words=_words(found, "ImageType"),
    )
    return (plane,) if count == 1 else tuple(_numbered(plane, place) for place in range(count))


def _numbered(plane: Plane, frame: int) -> Plane:
    from dataclasses import replace

    return replace(plane, frame=frame)


def _traits(found: Any) -> Mapping[str, Any]:
    said = {
        "echo": _number(found, "EchoTime"),
        "echo number": whole_of(found, "EchoNumbers"),
        "inversion": _number(found, "InversionTime"),
        "b-value": _number(found, "DiffusionBValue"),
        "phase": whole_of(found, "TemporalPositionIdentifier"),
        "trigger": _number(found, "TriggerTime"),
        "image type": "/".join(_words(found, "ImageType")) or None,
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
    words = _words(types, "FrameType")
    said = {
        "segment": whole_of(group("SegmentIdentificationSequence"), "ReferencedSegmentNumber"),
        "stack": text_of(content, "StackID") or None,
        "echo": _number(group("MREchoSequence"), "EffectiveEchoTime"),
        "b-value": _number(group("MRDiffusionSequence"), "DiffusionBValue"),
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
        slope=_first(values, "RescaleSlope", 1.0),
        inter=_first(values, "RescaleIntercept", 0.0),
        thickness=_number(measures, "SliceThickness"),
        between=_number(measures, "SpacingBetweenSlices"),
        traits=MappingProxyType({name: value for name, value in said.items() if value is not None}),
        words=words,
    )


def text_of(found: Any, name: str) -> str:
    """A tag's text, empty where it is not there or is no text."""
    value = _raw(found, name)
    return str(value).strip() if isinstance(value, str) else ""


def whole_of(found: Any, name: str) -> int | None:
    """A tag's whole number, or None."""
    value = _raw(found, name)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def numbers_of(found: Any, name: str, count: int) -> Floats | None:
    """A tag's ``count`` finite numbers, or None."""
    value = _raw(found, name)
    try:
        numbers = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(isfinite, numbers)) else None


def _number(found: Any, name: str) -> float | None:
    value = _raw(found, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def _first(found: Any, name: str, default: float) -> float:
    """A scale: the default where it is absent, NaN where it is there and no number."""
    if _raw(found, name) is None:
        return default
    number = _number(found, name)
    return float("nan") if number is None else number


def _words(found: Any, name: str) -> tuple[str, ...]:
    value = _raw(found, name)
    if isinstance(value, str):
        value = [value]
    try:
        return tuple(str(word).strip().upper() for word in value or () if str(word).strip())
    except TypeError:
        return ()


def _raw(found: Any, name: str) -> Any:
    try:
        return found.get(name)
    except Exception:
        return None  # a value that its own type does not allow


def _bounded(path: Path) -> Any:
    """What to read from: the file, or, of a deflated one, as much as memory is given for."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return path
    with quiet():
        meta = pydicom().filereader.read_file_meta_info(path)
    if text_of(meta, "TransferSyntaxUID") != _DEFLATED:
        return path
    data = path.read_bytes()
    begins = _after_meta(data)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(data[begins:], _MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError("inflates without end")
    packed = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
    return BytesIO(data[:begins] + packed.compress(body) + packed.flush())


def _after_meta(data: bytes) -> int:
    """Where the file meta information ends: its first element says how long it is."""
    length = int.from_bytes(data[140:144], "little")
    return 144 + length
