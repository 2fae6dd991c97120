"""RTSTRUCT: masks as outlines that give the same voxels to every reader."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap
from medseg.io.atomic import write_atomically
from medseg.io.dicom.header import RTSTRUCT
from medseg.io.dicom.outlines import outlines
from medseg.io.dicom.package import pydicom, quiet
from medseg.io.dicom.source import Source, new_uid
from medseg.io.terms import coded, colour_of, parted, rgb

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_NAME, _LABEL = 64, 16


def write_contours(
    path: Path,
    mask: LabelMap,
    source: Source,
    holes: Literal["keyhole", "xor"] = "keyhole",
    algorithm: str = "medseg",
) -> str:
    """Write a mask's labels as contour sets on the slices of its scan; the SHA-256 of its bytes.

    Outlines follow the edges of voxels, so reading them gives the mask again. ``holes: keyhole``
    joins a hole to its outline by a channel without width; with ``xor`` it is an outline of its
    own, and readers take what lies in two as outside. Raises OutputError.
    """
    library = pydicom()
    with quiet():
        made = _dataset(library, source, algorithm)
        sets, contours, observed = [], [], []
        for number, label in enumerate(mask.labels, 1):
            sets.append(
                _item(
                    ROINumber=number,
                    ReferencedFrameOfReferenceUID=source.pile.header.frame_of_reference,
                    ROIName=label.name[:_NAME],
                    ROIGenerationAlgorithm="AUTOMATIC",
                    ROIGenerationDescription=algorithm[:_NAME],
                )
            )
            rings = list(_contours(mask.where(label.name), mask, source, holes))
            contours.append(
                _item(
                    ROIDisplayColor=list(rgb(colour_of(label, number - 1))),
                    ReferencedROINumber=number,
                    ContourSequence=rings,
                )
            )
            observed.append(
                _item(
                    ObservationNumber=number,
                    ReferencedROINumber=number,
                    RTROIInterpretedType="",
                    ROIInterpreter="",
                    **_identified(coded(label).type),
                )
            )
        made.StructureSetROISequence = sets
        made.ROIContourSequence = contours
        made.RTROIObservationsSequence = observed
        file = BytesIO()
        made.save_as(file, enforce_file_format=True)
    return write_atomically(path, file.getvalue())


def decimal(number: float) -> str:
    """A number as DICOM's decimal string: to a millionth, within 16 characters."""
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    text = "0" if text in ("-0", "") else text
    if len(text) > 16:
        raise ValueError(f"{number} has no decimal string of 16 characters")
    return text


def _dataset(library: Any, source: Source, algorithm: str) -> Any:
    made = library.dataset.Dataset()
    made.file_meta = library.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = RTSTRUCT
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = new_uid()
    source.handed_on(made)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.Modality, made.SeriesInstanceUID = "RTSTRUCT", new_uid()
    made.SeriesNumber, made.InstanceNumber, made.OperatorsName = None, 1, ""
    made.Manufacturer, made.ManufacturerModelName = "medseg", "medseg"
    made.SoftwareVersions = version("medseg")
    made.ApprovalStatus = "UNAPPROVED"
    made.StructureSetLabel = algorithm[:_LABEL]
    now = datetime.now()
    made.StructureSetDate, made.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.ReferencedFrameOfReferenceSequence = [_referenced(source)]
    return made


def _referenced(source: Source) -> Any:
    instances = [source.instance(place) for place in source.placed.at]
    images = {(one[0], one[1]): None for one in instances if one is not None}
    series = _item(
        SeriesInstanceUID=source.pile.header.series,
        ContourImageSequence=[
            _item(ReferencedSOPClassUID=kind, ReferencedSOPInstanceUID=uid) for kind, uid in images
        ],
    )
    study = _item(
        ReferencedSOPClassUID=_DETACHED_STUDY,
        ReferencedSOPInstanceUID=source.pile.header.study,
        RTReferencedSeriesSequence=[series],
    )
    return _item(
        FrameOfReferenceUID=source.pile.header.frame_of_reference, RTReferencedStudySequence=[study]
    )


def _contours(
    inside: NDArray[np.bool_], mask: LabelMap, source: Source, holes: str
) -> Iterator[Any]:
    affine = _TO_LPS @ mask.grid.affine
    for place in np.flatnonzero(inside.any(axis=(0, 1))).tolist():
        instance = source.instance(place)
        for ring in outlines(inside[:, :, place], keyholes=holes == "keyhole"):
            index = np.column_stack([ring, np.full(len(ring), place)])
            points = index @ affine[:3, :3].T + affine[:3, 3]
            seen = {} if instance is None else {"ContourImageSequence": [_image(*instance)]}
            kind = "CLOSED_PLANAR" if holes == "keyhole" else "CLOSEDPLANAR_XOR"
            yield _item(
                **seen,
                ContourGeometricType=kind,
                NumberOfContourPoints=len(points),
                ContourData=[decimal(x) for x in points.ravel().tolist()],
            )


def _image(kind: str, uid: str, frame: int) -> Any:
    frames = {"ReferencedFrameNumber": frame} if frame else {}
    return _item(ReferencedSOPClassUID=kind, ReferencedSOPInstanceUID=uid, **frames)


def _identified(term: tuple[str, str]) -> dict[str, Any]:
    code = parted(term[0])
    if code is None:
        return {}
    item = _item(CodeValue=code[1], CodingSchemeDesignator=code[0], CodeMeaning=term[1][:_NAME])
    return {"RTROIIdentificationCodeSequence": [item]}


def _item(**tags: Any) -> Any:
    made = pydicom().dataset.Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made
