"""DICOM series written for tests: voxels on an affine, one file a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence as Items  # noqa: E402
from pydicom.uid import (  # noqa: E402
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

PATIENT = {"PatientName": "Phantom^One", "PatientID": "P1"}
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def lps(spacing: Sequence[float] = (0.7, 0.9, 3.0), tilt: float = 0.0) -> NDArray[np.float64]:
    """An affine (4, 4) to LPS mm of columns, rows and slices, oblique, ``tilt`` degrees sheared."""
    a, b = np.radians(8.0), np.radians(-5.0)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    lean = np.tan(np.radians(tilt)) * spacing[2]
    affine[:3, 2] += turn[:, 1] * lean
    affine[:3, 3] = (-31.5, 12.25, -104.75)
    return affine


def write_series(
    folder: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    leave_out: Sequence[int] = (),
    numbers: Sequence[int] | None = None,
    each: Mapping[str, Sequence[Any]] | None = None,
    prefix: str = "IM",
    **tags: Any,
) -> list[Path]:
    """Write ``data (columns, rows, slices)`` int16 as CT slices; tags are those of every slice.

    ``each`` has tags that differ from slice to slice, ``numbers`` the instance numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    frame = generate_uid()
    paths = []
    for place in range(data.shape[2]):
        if place in leave_out:
            continue
        found = slice_of(data[:, :, place], affine, place)
        found.SeriesInstanceUID, found.StudyInstanceUID = series, study
        found.FrameOfReferenceUID = frame
        found.InstanceNumber = numbers[place] if numbers is not None else place + 1
        for name, value in {**PATIENT, **tags}.items():
            put(found, name, value)
        for name, values in (each or {}).items():
            put(found, name, values[place])
        found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
        paths.append(folder / f"{prefix}{place:03d}.dcm")
        found.save_as(paths[-1], enforce_file_format=True)
    return paths


def put(found: Any, name: str, value: Any) -> None:
    """Set a tag, or take it away where the value is None."""
    if value is not None:
        setattr(found, name, value)
    elif name in found:
        delattr(found, name)


def slice_of(pixels: NDArray[Any], affine: NDArray[np.float64], place: int) -> Any:
    """A CT slice of ``pixels (columns, rows)``."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, generate_uid()
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.Modality, found.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.SeriesNumber = 2
    for name in ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "PatientBirthDate"):
        setattr(found, name, "")
    found.PatientSex, found.ReferringPhysicianName, found.Manufacturer = "", "", ""
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    row, column = (affine[:3, axis] / spacing[axis] for axis in (0, 1))
    found.ImageOrientationPatient = [f"{x:.12g}"[:16] for x in (*row, *column)]
    position = affine @ (0, 0, place, 1)
    found.ImagePositionPatient = [f"{x:.10g}" for x in position[:3]]
    found.PixelSpacing = [float(spacing[1]), float(spacing[0])]
    found.SliceThickness = 3.0
    found.Rows, found.Columns = pixels.shape[1], pixels.shape[0]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 16, 15
    found.PixelRepresentation = 1
    found.RescaleSlope, found.RescaleIntercept = 1, 0
    found.PixelData = np.ascontiguousarray(pixels.T.astype("<i2")).tobytes()
    return found


def write_enhanced(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    order: Sequence[int],
    echoes: int = 1,
    modality: str = "MR",
) -> Path:
    """Write one enhanced object; its frames are the slices in ``order``, echo by echo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = slice_of(data[:, :, 0], affine, 0)
    found.SOPClassUID = {"MR": EnhancedMRImageStorage, "CT": EnhancedCTImageStorage}[modality]
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.Modality = modality
    found.SeriesInstanceUID, found.StudyInstanceUID = generate_uid(), generate_uid()
    found.FrameOfReferenceUID = generate_uid()
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = found.PixelSpacing, 3.0
    orientation.ImageOrientationPatient = found.ImageOrientationPatient
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([orientation])
    found.SharedFunctionalGroupsSequence = Items([shared])
    frames, pixels = [], []
    for echo in range(echoes):
        for place in order:
            own, where, values, timing = Dataset(), Dataset(), Dataset(), Dataset()
            where.ImagePositionPatient = [f"{x:.10g}" for x in (affine @ (0, 0, place, 1))[:3]]
            own.PlanePositionSequence = Items([where])
            values.RescaleSlope, values.RescaleIntercept = 1 + place, 5 * place
            values.RescaleType = "US"
            own.PixelValueTransformationSequence = Items([values])
            timing.EffectiveEchoTime = 10.0 * (echo + 1)
            own.MREchoSequence = Items([timing])
            frames.append(own)
            pixels.append(np.ascontiguousarray(data[:, :, place].T.astype("<i2")) + echo)
    found.PerFrameFunctionalGroupsSequence = Items(frames)
    found.NumberOfFrames = len(frames)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(found, name)
    found.PixelData = np.stack(pixels).tobytes()
    found.save_as(path, enforce_file_format=True)
    return path
