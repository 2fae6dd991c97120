"""PET becomes SUV by body weight as the published rules have it, or the missing tag is named."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dicom import lps, pydicom, write_series

from medseg.errors import StudyError
from medseg.image import Study
from medseg.io import ReadOptions, read_scan

PET = "1.2.840.10008.5.1.4.1.1.128"
HALF_LIFE = 6586.2
DOSE, WEIGHT = 370e6, 70.0
SCAN = datetime(2024, 3, 5, 0, 40, 0)


def write(folder: Path, given: datetime = SCAN - timedelta(minutes=60), **tags: Any) -> None:
    """A PET series of 10 kBq/ml, the tracer given an hour before the scan began."""
    drug = pydicom.dataset.Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = DOSE, HALF_LIFE
    drug.RadiopharmaceuticalStartTime = given.strftime("%H%M%S.00")
    said: dict[str, Any] = {
        "SOPClassUID": PET,
        "Modality": "PT",
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY", "SCAT"],
        "PatientWeight": WEIGHT,
        "SeriesDate": SCAN.strftime("%Y%m%d"),
        "SeriesTime": SCAN.strftime("%H%M%S"),
        "AcquisitionDate": SCAN.strftime("%Y%m%d"),
        "AcquisitionTime": (SCAN + timedelta(minutes=4)).strftime("%H%M%S"),
        "RadiopharmaceuticalInformationSequence": pydicom.sequence.Sequence([drug]),
    }
    taken_away = {key: value for key, value in tags.items() if not key.startswith("drug_")}
    for key, value in tags.items():
        if key.startswith("drug_"):
            setattr(drug, key[5:], value)
    data = np.full((4, 5, 3), 10_000, np.int16)
    data[0, 0] = 0
    write_series(folder, data, lps(), **{**said, **taken_away})


def highest(folder: Path, **options: Any) -> float:
    scan = read_scan(Study("one", (folder,)), ReadOptions(**options))
    return float(scan.volume.data.max())


def expected(waited_s: float) -> float:
    return 10_000 * WEIGHT * 1000 / (DOSE * 2 ** (-waited_s / HALF_LIFE))


def test_activity_is_divided_by_the_decayed_dose_of_each_gram(tmp_path: Path) -> None:
    # The tracer was given on the evening before: a time of day alone is not of the same day.
    write(tmp_path)
    assert highest(tmp_path) == pytest.approx(expected(3600), rel=1e-6)
    assert highest(tmp_path, pet="stored") == 10_000


def test_a_dose_of_the_time_it_was_given_is_not_decayed(tmp_path: Path) -> None:
    write(tmp_path, DecayCorrection="ADMIN")
    assert highest(tmp_path) == pytest.approx(expected(0), rel=1e-6)


def test_suv_stays_suv(tmp_path: Path) -> None:
    write(tmp_path, Units="GML", RescaleSlope=0.001)
    assert highest(tmp_path) == pytest.approx(10)


def test_a_series_made_later_goes_by_the_frames_own_reference(tmp_path: Path) -> None:
    frame = 180.0
    span = log(2) / HALF_LIFE * frame
    mean_at = log(span / (1 - exp(-span))) / (log(2) / HALF_LIFE)
    late = SCAN + timedelta(hours=5)
    write(
        tmp_path,
        SeriesTime=late.strftime("%H%M%S"),
        ActualFrameDuration=int(frame * 1000),
        FrameReferenceTime=(240 + mean_at) * 1000,
    )
    assert highest(tmp_path) == pytest.approx(expected(3600), rel=1e-6)


def test_the_scan_time_of_ge_counts_where_the_series_was_made_later(tmp_path: Path) -> None:
    late = SCAN + timedelta(hours=5)
    write(tmp_path, SeriesTime=late.strftime("%H%M%S"))
    for path in tmp_path.iterdir():
        found = pydicom.dcmread(path)
        block = found.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", SCAN.strftime("%Y%m%d%H%M%S.00"))
        found.save_as(path)
    assert highest(tmp_path) == pytest.approx(expected(3600), rel=1e-6)


def test_counts_of_philips_have_a_factor_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, Units="CNTS")
    for path in tmp_path.iterdir():
        found = pydicom.dcmread(path)
        block = found.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.00025")
        found.save_as(path)
    assert highest(tmp_path) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"PatientWeight": None}, "PatientWeight"),
        ({"PatientWeight": 0}, "PatientWeight"),
        ({"Units": "PROPCPS"}, "Units"),
        ({"Units": "CNTS"}, "CNTS"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUVType"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection"),
        ({"CorrectedImage": ["DECY"]}, "ATTN"),
        ({"drug_RadionuclideTotalDose": None}, "RadionuclideTotalDose"),
        ({"drug_RadionuclideHalfLife": ""}, "RadionuclideHalfLife"),
        ({"drug_RadiopharmaceuticalStartTime": ""}, "RadiopharmaceuticalStartTime"),
        ({"SeriesTime": None}, "FrameReferenceTime"),
        ({"RadiopharmaceuticalInformationSequence": None}, "RadiopharmaceuticalInformation"),
    ],
)
def test_a_missing_tag_is_named_and_not_guessed(
    tmp_path: Path, tags: dict[str, Any], named: str
) -> None:
    write(tmp_path, **tags)
    with pytest.raises(StudyError, match=f"E_DICOM_TAG.*{named}.*pet: stored"):
        highest(tmp_path)


@pytest.mark.real
def test_real_pet_equals_the_nifti_beside_it(real_data: Path) -> None:
    """The published NIfTI was resampled to SUV by others."""
    for patient in ("STS_019", "STS_025"):
        ours = read_scan(Study("a", (real_data / f"sarcoma/dicom/{patient}/PET/image",))).volume
        path = real_data / f"sarcoma/nifti/{patient}/PET_image.nii.gz"
        theirs = read_scan(Study("b", (path,))).volume
        assert ours.grid.near(theirs.grid, 0.01)
        assert np.allclose(ours.data, theirs.data, rtol=1e-4, atol=1e-4)
