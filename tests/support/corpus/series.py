"""DICOM series, whole and broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support.corpus.case import Case, Truth
from support.dicom import TO_RAS, lps, pydicom, write_enhanced, write_series

SHAPE = (8, 7, 6)
_X, _Y, _Z = np.indices(SHAPE)
DATA = (_X + 3 * _Y + 7 * _Z + 10).astype(np.int16)
Change = Callable[[Any], None]


def _plain(name: str, ends: str, warns: tuple[str, ...] = (), **told: Any) -> Case:
    affine = told.pop("affine", lps())

    def make(folder: Path) -> Path:
        write_series(folder / "ct", DATA, affine, **told)
        return folder

    truth = Truth(DATA, TO_RAS @ affine) if ends == "done" else None
    return Case(name, "series", make, ends, warns, truth)


def _changed(
    name: str, ends: str, change: Change, *places: int, warns: tuple[str, ...] = ()
) -> Case:
    """Slices changed as pydicom reads them; all of them where no place is said."""

    def make(folder: Path) -> Path:
        for place, path in enumerate(write_series(folder / "ct", DATA, lps())):
            if not places or place in places:
                found = pydicom.dcmread(path)
                change(found)
                found.save_as(path)
        return folder

    truth = Truth(DATA, TO_RAS @ lps()) if ends == "done" else None
    return Case(name, "series", make, ends, warns, truth)


def _bytes(name: str, ends: str, change: Callable[[bytes], bytes]) -> Case:
    """The third file changed as bytes."""

    def make(folder: Path) -> Path:
        path = write_series(folder / "ct", DATA, lps())[2]
        path.write_bytes(change(path.read_bytes()))
        return folder

    return Case(name, "series", make, ends)


def _set(**tags: Any) -> Change:
    def change(found: Any) -> None:
        for name, value in tags.items():
            setattr(found, name, value)

    return change


def _syntax(found: Any) -> None:
    found.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    found.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    found["PixelData"].is_undefined_length = True


def _packed_nonsense(found: Any) -> None:
    found.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    found.PixelData = pydicom.encaps.encapsulate([bytes(200)])
    found["PixelData"].is_undefined_length = True


def _rle(found: Any) -> None:
    found.compress(pydicom.uid.RLELossless)


def _deflated(found: Any) -> None:
    found.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian


def _colours(found: Any) -> None:
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PlanarConfiguration = 3, "RGB", 0
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelRepresentation = 7, 0
    found.PixelData = bytes(3 * SHAPE[0] * SHAPE[1])


def _fewer_rows(found: Any) -> None:
    found.Rows -= 1
    found.PixelData = found.PixelData[: -2 * SHAPE[0]]


def _without(tag: str) -> Case:
    return _changed(f"no {tag}", "E_DICOM_TAG", lambda found: delattr(found, tag))


def _uneven() -> Case:
    affine = lps()
    at = [0, 3, 6, 9, 14, 19]
    places = [(affine[:3, 3] + mm * affine[:3, 2] / 3).round(6).tolist() for mm in at]
    return _plain("3 mm, then 5 mm", "E_DICOM_SPACING", each={"ImagePositionPatient": places})


def _jitter(mm: float, ends: str) -> Case:
    affine, chance = lps(), np.random.default_rng(2)
    places = [
        ((affine @ (0, 0, z, 1))[:3] + chance.uniform(-mm, mm, 3)).round(6).tolist()
        for z in range(SHAPE[2])
    ]
    if ends != "done":
        places[3] = (np.array(places[3]) + mm * affine[:3, 0]).round(6).tolist()
    return _plain(f"positions {mm:g} mm off", ends, each={"ImagePositionPatient": places})


def _reversed() -> Case:
    affine = lps()
    affine[:3, 3] += (SHAPE[2] - 1) * affine[:3, 2]
    affine[:3, 2] *= -1

    def make(folder: Path) -> Path:
        write_series(folder / "ct", DATA, affine)
        return folder

    return Case("slices from the other end", "series", make, truth=Truth(DATA, TO_RAS @ affine))


def _slopes() -> Case:
    slopes = [1.0, 2.0, 0.5, 3.0, 1.5, 4.0]

    def make(folder: Path) -> Path:
        write_series(folder / "ct", DATA, lps(), each={"RescaleSlope": slopes})
        return folder

    truth = Truth(DATA * np.array(slopes), TO_RAS @ lps())
    return Case("a slope for each slice", "series", make, truth=truth)


def _single(folder: Path) -> Path:
    write_series(folder / "ct", DATA[:, :, :1], lps())
    return folder


def _twice(folder: Path) -> Path:
    visit = "1.2.840.99.1"
    write_series(folder / "ct", DATA, lps(), StudyInstanceUID=visit)
    write_series(folder / "ct", DATA, lps(), prefix="AGAIN", StudyInstanceUID=visit)
    return folder


def _same_slice(folder: Path) -> Path:
    path = write_series(folder / "ct", DATA, lps())[3]
    found = pydicom.dcmread(path)
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    found.PixelData = bytes(len(found.PixelData))
    found.save_as(path.with_name("copy.dcm"))
    return folder


def _localizer(folder: Path) -> Path:
    path = write_series(folder / "ct", DATA, lps())[0]
    found = pydicom.dcmread(path)
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
    found.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    found.save_as(path.with_name("AA.dcm"))
    return folder


def _enhanced(order: list[int], echoes: int = 1) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_enhanced(folder / "e.dcm", DATA, lps(), order, echoes)
        return folder

    return make


def _beside(folder: Path) -> Path:
    write_series(folder / "ct", DATA, lps())
    (folder / "ct" / "notes.txt").write_text("a patient's name")
    (folder / "ct" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(40))
    return folder


_RIGHT = Truth(DATA, TO_RAS @ lps())
_BY_FRAME = Truth(DATA * (1.0 + np.arange(6)) + 5 * np.arange(6), TO_RAS @ lps())

SERIES = (
    _plain("a series", "done"),
    _plain("numbers in another order", "done", numbers=[5, 3, 1, 6, 2, 4]),
    _plain("gantry tilt", "done", ("W_GEOMETRY_SHEAR",), affine=lps(tilt=12)),
    _jitter(0.004, "done"),
    _reversed(),
    _slopes(),
    _changed("run-length coding", "done", _rle),
    _changed("deflated", "done", _deflated),
    _changed(
        "low values bright",
        "done",
        _set(PhotometricInterpretation="MONOCHROME1"),
        warns=("W_DICOM_MONOCHROME1",),
    ),
    Case(
        "one slice",
        "series",
        _single,
        warns=("W_SPACING",),
        truth=Truth(DATA[:, :, :1], TO_RAS @ lps()),
    ),
    Case("frames out of order", "series", _enhanced([3, 0, 5, 1, 4, 2]), truth=_BY_FRAME),
    Case("other files beside it", "series", _beside, truth=_RIGHT),
    _plain("a slice missing", "E_DICOM_GAP", leave_out=[3]),
    _uneven(),
    _jitter(2.0, "E_DICOM_SPACING"),
    Case("two series in one folder", "series", _twice, "E_DICOM_MIXED"),
    Case("two slices at one place", "series", _same_slice, "E_DICOM_DUPLICATE"),
    Case("a localizer among slices", "series", _localizer, "E_DICOM_MIXED"),
    Case("two echoes", "series", _enhanced([0, 1, 2, 3, 4, 5], 2), "E_DICOM_MIXED"),
    *map(_without, ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")),
    _changed("no Rows", "E_NO_INPUT", lambda found: delattr(found, "Rows")),
    _changed("spacing 0", "E_DICOM_TAG", _set(PixelSpacing=[0, 0])),
    _changed("spacing negative", "E_DICOM_TAG", _set(PixelSpacing=[-1, 1])),
    _changed("an orientation of zeros", "E_DICOM_TAG", _set(ImageOrientationPatient=[0] * 6)),
    _changed(
        "axes not at right angles",
        "E_DICOM_TAG",
        _set(ImageOrientationPatient=[1, 0, 0, 1, 0.1, 0]),
    ),
    _changed("rows that differ", "E_DICOM_MIXED", _fewer_rows, 2),
    _changed("colours", "E_DTYPE", _colours),
    _changed("60 000 rows and columns", "E_TRUNCATED", _set(Rows=60000, Columns=60000)),
    _changed("0 rows", "E_NO_INPUT", _set(Rows=0)),
    _changed("packed in an unknown way", "E_DICOM_SYNTAX", _syntax, 1),
    _changed("packed nonsense", "E_DICOM_SYNTAX", _packed_nonsense, 1),
    _bytes("a slice cut in its pixels", "E_TRUNCATED", lambda raw: raw[:-30]),
    _bytes("a slice cut in its header", "E_DICOM_GAP", lambda raw: raw[:300]),
)
