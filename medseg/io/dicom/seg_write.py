"""DICOM SEG by highdicom: a segment for each label, with codes, an algorithm and tracking ids."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap
from medseg.io.atomic import write_atomically
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.package import highdicom, pydicom, quiet
from medseg.io.dicom.source import HANDED_ON, Source, new_uid
from medseg.io.terms import coded, colour_of, parted, rgb

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TEXT = 64
_OF_A_SLICE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns"),
    *("NumberOfFrames", "ImageType", "InstanceNumber"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""What highdicom places frames by; whatever else it is shown of the patient it hands on."""


def write_segments(
    path: Path,
    mask: LabelMap,
    source: Source,
    kind: Literal["binary", "labelmap"] = "binary",
    algorithm: str = "medseg",
) -> str:
    """Write a mask as a SEG on the slices of its scan; the SHA-256 of its bytes.

    Labels that overlap (regions) are segments of their own in ``binary``; a ``labelmap`` holds
    exclusive labels only, ValueError otherwise. Raises OutputError.
    """
    if kind == "labelmap" and not mask.labels.exclusive:
        raise ValueError("a label map holds exclusive labels; regions overlap")
    library = highdicom()
    with quiet():
        made = library.seg.Segmentation(
            source_images=_slices(source),
            pixel_array=_pixels(mask, source, kind),
            segmentation_type=kind.upper(),
            segment_descriptions=_descriptions(library, mask, algorithm),
            series_instance_uid=new_uid(),
            series_number=1,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer="medseg",
            manufacturer_model_name="medseg",
            software_versions=version("medseg"),
            device_serial_number="0",
            omit_empty_frames=bool(mask.data.any()),
            **_places(library, mask, source),
        )
        _with_sides(made, mask)
        file = BytesIO()
        made.save_as(file, enforce_file_format=True)
    return write_atomically(path, file.getvalue())


def _slices(source: Source) -> list[Any]:
    """The scan's headers, in the order of its slices; of a file of many frames, that file."""
    paths = dict.fromkeys(plane.path for plane in source.placed.planes)
    return [_complete(read_dataset(path, (*_OF_A_SLICE, *HANDED_ON))) for path in paths]


def _complete(found: Any) -> Any:
    """Tags that highdicom insists on though a scan may lack them; empty, never invented."""
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        if name not in found:
            setattr(found, name, "")
    for name in ("StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        if name not in found:
            setattr(found, name, "")
    return found


def _pixels(mask: LabelMap, source: Source, kind: str) -> NDArray[Any]:
    """Frames (Z, rows, columns), and where labels overlap (Z, rows, columns, segments)."""
    del source
    if mask.labels.exclusive:
        data = np.zeros(mask.grid.shape, np.uint8 if len(mask.labels) < 256 else np.uint16)
        for number, label in enumerate(mask.labels, 1):
            data[mask.where(label.name)] = number
        return np.ascontiguousarray(data.transpose(2, 1, 0))
    del kind
    each = [mask.where(label.name).transpose(2, 1, 0) for label in mask.labels]
    return np.stack(each, axis=-1).astype(np.uint8)


def _places(library: Any, mask: LabelMap, source: Source) -> Mapping[str, Any]:
    """Where the frames lie, unless they are those of single files one by one."""
    whole = len(source.pile.headers) == len(source.placed.planes) == mask.grid.shape[2]
    if whole and all(len(header.planes) == 1 for header in source.pile.headers):
        return {}
    affine = _TO_LPS @ mask.grid.affine
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    directions = affine[:3, :3] / spacing
    normal = np.cross(directions[:, 0], directions[:, 1])
    places = [affine[:3, 3] + affine[:3, 2] * place for place in range(mask.grid.shape[2])]
    frame = library.enum.CoordinateSystemNames.PATIENT
    return {
        "plane_positions": [
            library.PlanePositionSequence(frame, [float(x) for x in place]) for place in places
        ],
        "plane_orientation": library.PlaneOrientationSequence(
            frame, [float(x) for x in (*directions[:, 0], *directions[:, 1])]
        ),
        "pixel_measures": library.PixelMeasuresSequence(
            pixel_spacing=[float(spacing[1]), float(spacing[0])],
            slice_thickness=float(spacing[2]),
            spacing_between_slices=float(abs(affine[:3, 2] @ normal)),
        ),
    }


def _descriptions(library: Any, mask: LabelMap, algorithm: str) -> list[Any]:
    codes = pydicom().sr.codedict.codes
    identified = library.AlgorithmIdentificationSequence(
        name=algorithm[:_TEXT],
        version=version("medseg"),
        family=codes.DCM.ArtificialIntelligence,
    )
    made = []
    for number, label in enumerate(mask.labels, 1):
        said = coded(label)
        made.append(
            library.seg.SegmentDescription(
                segment_number=number,
                segment_label=label.name[:_TEXT],
                segmented_property_category=_concept(library, said.category),
                segmented_property_type=_concept(library, said.type),
                algorithm_type="AUTOMATIC",
                algorithm_identification=identified,
                tracking_uid=new_uid(),
                tracking_id=label.name[:_TEXT],
                display_color=library.color.CIELabColor.from_rgb(
                    *rgb(colour_of(label, number - 1))
                ),
            )
        )
    return made


def _concept(library: Any, said: tuple[str, str]) -> Any:
    code = parted(said[0])
    if code is None:
        # A code of no known scheme is the user's own.
        code = ("99MEDSEG", said[0][:16])
    return library.sr.CodedConcept(code[1], code[0], said[1][:_TEXT])


def _with_sides(made: Any, mask: LabelMap) -> None:
    """Left or right, which highdicom has no word for."""
    items = {int(item.SegmentNumber): item for item in made.SegmentSequence}
    library = highdicom()
    for number, label in enumerate(mask.labels, 1):
        side = coded(label).side
        if side is not None and number in items:
            items[number].SegmentedPropertyTypeModifierCodeSequence = [_concept(library, side)]
