"""PET to SUV by body weight: the published rules, and nothing guessed.

The rules are those of the Quantitative Imaging Biomarkers Alliance's vendor-neutral pseudo-code
(QIBA FDG-PET/CT profile): SUVbw = activity * weight / (dose decayed to the time that activity was
decay-corrected to).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

from medseg.errors import StudyError
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.header import PET_TAGS, PRIVATE_PET_TAGS
from medseg.io.dicom.package import understood
from medseg.io.dicom.values import numbers_of, text_of

_INSTEAD = "; set input: {pet: stored} to take the values as they are"
_LONGEST_HOURS = 24.0


def suv_factor(path: Path) -> float:
    """What the rescaled values of a PET slice are multiplied by to be SUV by body weight.

    Raises StudyError E_DICOM_TAG with the name of the tag that is missing or says otherwise.
    """
    found = read_dataset(path, (*PET_TAGS, *PRIVATE_PET_TAGS))
    with understood(path):
        try:
            return _factor(found)
        except StudyError as error:
            raise StudyError(error.code, error.message + _INSTEAD, path) from None


def _factor(found: Any) -> float:
    units = text_of(found, "Units").upper()
    if units == "GML":
        kind = text_of(found, "SUVType").upper() or "BW"
        if kind != "BW":
            raise _missing("SUVType is not BW, so the values are SUV by another measure")
        return 1.0
    if units == "CNTS":
        return _of_counts(found)
    if units != "BQML":
        raise _missing("Units is none of BQML, GML and CNTS")
    return _of_activity(found)


def _of_counts(found: Any) -> float:
    """Philips: counts with a factor to SUV, or to activity, among its private tags."""
    if "philips" in _private(found, 0x70530010).casefold():
        factor = _positive(_private(found, 0x70531000))
        if factor is not None:
            return factor
        factor = _positive(_private(found, 0x70531009))
        if factor is not None:
            return factor * _of_activity(found)
    raise _missing("Units is CNTS, and no factor to SUV or to activity is there")


def _of_activity(found: Any) -> float:
    corrected = [str(word).upper() for word in found.get("CorrectedImage") or ()]
    for word in ("ATTN", "DECY"):
        if word not in corrected:
            raise _missing(f"CorrectedImage has no {word}")
    weight = _needed(found, "PatientWeight")
    drug = (found.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    if drug is None:
        raise _missing("RadiopharmaceuticalInformationSequence is missing")
    dose = _needed(drug, "RadionuclideTotalDose")
    correction = text_of(found, "DecayCorrection").upper()
    if correction == "ADMIN":
        return weight * 1000 / dose
    if correction != "START":
        raise _missing("DecayCorrection is neither START nor ADMIN")
    half_life = _needed(drug, "RadionuclideHalfLife")
    corrected_to = _corrected_to(found, log(2) / half_life)
    waited = (corrected_to - _given(drug, corrected_to)).total_seconds()
    if not 0 <= waited <= 3600 * _LONGEST_HOURS:
        raise _missing("RadiopharmaceuticalStartTime is not within a day before the scan")
    return float(weight * 1000 / (dose * 2.0 ** (-waited / half_life)))


def _corrected_to(found: Any, decay: float) -> datetime:
    """The time that the activity was decay-corrected to: when the scan of the series began."""
    series = _moment(found, "SeriesDate", "SeriesTime")
    acquired = _moment(found, "AcquisitionDate", "AcquisitionTime")
    if series is not None and acquired is not None and series <= acquired:
        return series
    # A series that was made later bears the time of its making. GE keeps the scan's own.
    if "GEMS_PETD" in _private(found, 0x00090010):
        moment = _parsed(_private(found, 0x0009100D))
        if moment is not None:
            return moment
    if acquired is None:
        raise _missing("AcquisitionDate or AcquisitionTime is missing")
    reference, duration = _ms(found, "FrameReferenceTime"), _ms(found, "ActualFrameDuration")
    if reference is None or not duration:
        raise _missing(
            "SeriesTime is missing or after AcquisitionTime, and FrameReferenceTime or"
            " ActualFrameDuration is missing"
        )
    # The activity is the mean over the frame, which it has at this time after the frame's start.
    span = decay * duration
    mean_at = log(span / (1 - exp(-span))) / decay
    return acquired + timedelta(seconds=mean_at - reference)


def _given(drug: Any, scan: datetime) -> datetime:
    moment = _parsed(text_of(drug, "RadiopharmaceuticalStartDateTime"))
    if moment is not None and moment <= scan:
        return moment
    moment = _parsed(f"{scan:%Y%m%d}{text_of(drug, 'RadiopharmaceuticalStartTime')}")
    if moment is None or not text_of(drug, "RadiopharmaceuticalStartTime"):
        raise _missing("RadiopharmaceuticalStartTime is missing")
    # A time of day alone: of the day before, where it would be after the scan.
    return moment if moment <= scan else moment - timedelta(days=1)


def _moment(found: Any, date: str, time: str) -> datetime | None:
    day, hour = text_of(found, date), text_of(found, time)
    return _parsed(day + hour) if day and hour else None


def _parsed(text: str) -> datetime | None:
    """A DICOM date and time, in the scanner's own clock."""
    digits, _, fraction = text.partition(".")
    digits = digits[:14]
    if not digits.isdecimal() or len(digits) < 10:
        return None
    try:
        moment = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    parts = fraction[:6] if fraction[:6].isdecimal() else ""
    return moment + timedelta(seconds=float(f"0.{parts}") if parts else 0.0)


def _needed(found: Any, name: str) -> float:
    number = _positive(found.get(name))
    if number is None:
        raise _missing(f"{name} is missing, or not above 0")
    return number


def _ms(found: Any, name: str) -> float | None:
    """Milliseconds as seconds."""
    value = found.get(name)
    one = None if value is None else numbers_of({name: [value]}, name, 1)
    return None if one is None else one[0] / 1000


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and number > 0 else None


def _private(found: Any, tag: int) -> str:
    if tag not in found:
        return ""
    value = found[tag].value
    return value.decode("ascii", "ignore").strip("\0 ") if isinstance(value, bytes) else str(value)


def _missing(told: str) -> StudyError:
    return StudyError("E_DICOM_TAG", f"no SUV can be had: {told}")
