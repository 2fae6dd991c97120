"""SEG and RTSTRUCT give the same mask back, on any grid, and say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.dicom import PATIENT, lps, pydicom, write_enhanced, write_series

from medseg.errors import StudyError
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import ReadOptions, find_studies, read_label_values, read_labels, read_scan
from medseg.io.dicom.rtstruct_write import decimal, write_contours
from medseg.io.dicom.seg_write import write_segments
from medseg.io.dicom.source import Source, source_of

SHAPE = (15, 11, 8)
TABLE = Labels((Label("liver", (1,)), Label("kidney_left", (4,)), Label("odd thing", (7,))))
FILL = ReadOptions(missing_slices="interpolate")


def noise() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16)


def chance_mask(source: Source, labels: Labels = TABLE) -> LabelMap:
    """Islands, holes and corners that touch; the second slice and the last column are empty."""
    values = np.array([0, *sorted(labels.values)], np.uint8)
    data = values[np.random.default_rng(1).integers(0, len(values), source.placed.grid.shape)]
    data[:, :, 1] = 0
    data[-1] = 0
    return LabelMap(data, source.placed.grid, labels)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tilted": {"tilt": 11.0},
    "missing slices": {"leave_out": (3, 4)},
    "turned round": {"turned": True},
}


def source(folder: Path, case: str) -> Source:
    said = dict(CASES[case])
    affine = lps((0.55, 0.8, 2.5), tilt=said.pop("tilt", 0.0))
    if said.pop("turned", False):
        affine[:3, :3] = affine[:3, [1, 2, 0]]
    write_series(folder / "ct", noise(), affine, **said)
    return source_of(folder / "ct", FILL)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_seg_gives_the_mask_again(tmp_path: Path, case: str, kind: Any) -> None:
    origin = source(tmp_path, case)
    mask = chance_mask(origin)
    write_segments(tmp_path / "seg.dcm", mask, origin, kind)
    again, cautions = read_labels(tmp_path / "seg.dcm", TABLE, mask.grid)
    assert np.array_equal(again.data, mask.data)
    assert cautions == ()
    values, grid = read_label_values(tmp_path / "seg.dcm")
    assert grid.near(mask.grid, 0.01)
    assert np.array_equal(values > 0, mask.data > 0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("holes", ["keyhole", "xor"])
def test_an_rtstruct_gives_the_mask_again(tmp_path: Path, case: str, holes: Any) -> None:
    origin = source(tmp_path, case)
    mask = chance_mask(origin)
    write_contours(tmp_path / "rt.dcm", mask, origin, holes)
    again, cautions = read_labels(tmp_path / "rt.dcm", TABLE, mask.grid)
    assert np.array_equal(again.data, mask.data)
    assert cautions == ()


def test_frames_of_one_enhanced_file_are_drawn_on_too(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", noise(), lps(), [3, 1, 0, 2, 6, 5, 4, 7])
    origin = source_of(path)
    mask = chance_mask(origin)
    write_segments(tmp_path / "seg.dcm", mask, origin)
    write_contours(tmp_path / "rt.dcm", mask, origin)
    for name in ("seg.dcm", "rt.dcm"):
        assert np.array_equal(read_labels(tmp_path / name, TABLE, mask.grid)[0].data, mask.data)


def test_regions_that_overlap_are_drawn_each_for_itself(tmp_path: Path) -> None:
    regions = Labels((Label("tumor", (1, 2, 3)), Label("core", (2, 3)), Label("necrosis", (3,))))
    origin = source(tmp_path, "plain")
    mask = chance_mask(origin, regions)
    write_segments(tmp_path / "seg.dcm", mask, origin)
    write_contours(tmp_path / "rt.dcm", mask, origin)
    for name in ("seg.dcm", "rt.dcm"):
        assert np.array_equal(read_labels(tmp_path / name, regions, mask.grid)[0].data, mask.data)
    with pytest.raises(ValueError, match="exclusive"):
        write_segments(tmp_path / "seg.dcm", mask, origin, "labelmap")


def test_an_empty_mask_is_an_empty_seg(tmp_path: Path) -> None:
    origin = source(tmp_path, "plain")
    mask = LabelMap(np.zeros(SHAPE, np.uint8), origin.placed.grid, TABLE)
    write_segments(tmp_path / "seg.dcm", mask, origin)
    write_contours(tmp_path / "rt.dcm", mask, origin)
    for name in ("seg.dcm", "rt.dcm"):
        assert not read_labels(tmp_path / name, TABLE, mask.grid)[0].data.any()


def test_a_seg_says_what_its_segments_are_and_who_made_them(tmp_path: Path) -> None:
    origin = source(tmp_path, "plain")
    write_segments(tmp_path / "seg.dcm", chance_mask(origin), origin, algorithm="medseg liver")
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    liver, kidney, odd = found.SegmentSequence
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert odd.SegmentedPropertyTypeCodeSequence[0].CodeValue == "85756007"
    assert len({segment.TrackingUID for segment in found.SegmentSequence}) == 3
    for segment in found.SegmentSequence:
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == "medseg liver"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
    scan = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
    assert found.FrameOfReferenceUID == scan.FrameOfReferenceUID
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == scan.SeriesInstanceUID


@pytest.mark.parametrize("name", ["seg.dcm", "rt.dcm"])
def test_the_patient_is_the_scans_and_nothing_of_it_is_made_up(tmp_path: Path, name: str) -> None:
    origin = source(tmp_path, "plain")
    write = write_segments if name == "seg.dcm" else write_contours
    write(tmp_path / name, chance_mask(origin), origin)
    found = pydicom.dcmread(tmp_path / name)
    assert found.PatientName == PATIENT["PatientName"]
    assert found.PatientID == PATIENT["PatientID"]
    for tag in ("PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
        assert not found[tag].value, tag
    scan = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
    assert found.StudyInstanceUID == scan.StudyInstanceUID
    assert found.SeriesInstanceUID != scan.SeriesInstanceUID


def test_every_outline_names_its_slice_and_its_numbers_are_short(tmp_path: Path) -> None:
    origin = source(tmp_path, "tilted")
    write_contours(tmp_path / "rt.dcm", chance_mask(origin), origin)
    scans = {s.SOPInstanceUID: s for s in map(pydicom.dcmread, (tmp_path / "ct").iterdir())}
    found = pydicom.dcmread(tmp_path / "rt.dcm")
    contours = [c for roi in found.ROIContourSequence for c in roi.ContourSequence]
    assert len(contours) > 100
    for contour in contours:
        assert all(len(str(number)) <= 16 for number in contour.ContourData)
        assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints
        scan = scans[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        normal = np.cross(scan.ImageOrientationPatient[:3], scan.ImageOrientationPatient[3:])
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        off = (points - np.array(scan.ImagePositionPatient, float)) @ normal
        assert np.abs(off).max() < 1e-3


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.0000001, "0"), (-123.4560004, "-123.456"), (1 / 3, "0.333333")],
)
def test_numbers_are_decimal_strings(number: float, text: str) -> None:
    assert decimal(number) == text


def test_a_label_finds_its_structure_by_name_by_rule_or_by_code(tmp_path: Path) -> None:
    origin = source(tmp_path, "plain")
    mask = chance_mask(origin)
    write_segments(tmp_path / "seg.dcm", mask, origin)
    path = tmp_path / "seg.dcm"
    by_name = Labels((Label("Kidney Left", (1,)),))
    by_code = Labels((Label("organ", (1,), code="SCT:10200004"),))
    by_rule = Labels((Label("thing", (1,)),))
    rule = ReadOptions(rois={"thing": "odd thing"})
    for labels, options, value in ((by_name, None, 4), (by_code, None, 1), (by_rule, rule, 7)):
        again, _ = read_labels(path, labels, mask.grid, options)
        assert np.array_equal(again.data, mask.data == value)
    with pytest.raises(StudyError, match="E_LABEL_VALUES") as caught:
        read_labels(path, by_rule, mask.grid)
    assert "odd" not in str(caught.value)
    partly = Labels((Label("liver", (1,)), Label("spleen", (2,))))
    again, cautions = read_labels(path, partly, mask.grid)
    assert [c.code for c in cautions] == ["W_LABEL_ABSENT"]
    assert np.array_equal(again.data == 1, mask.data == 1)


def test_a_drawing_of_another_series_is_refused(tmp_path: Path) -> None:
    origin = source(tmp_path, "plain")
    mask = chance_mask(origin)
    write_segments(tmp_path / "seg.dcm", mask, origin)
    write_contours(tmp_path / "rt.dcm", mask, origin)
    elsewhere = mask.grid.spaced((0.7, 0.7, 1.7))
    for name in ("seg.dcm", "rt.dcm"):
        with pytest.raises(StudyError, match="E_LABEL_GEOMETRY"):
            read_labels(tmp_path / name, TABLE, elsewhere)
    with pytest.raises(StudyError, match=r"E_LABEL_GEOMETRY.*no voxels"):
        read_labels(tmp_path / "rt.dcm", TABLE)


def test_a_seg_of_part_of_the_scan_is_put_in_its_place(tmp_path: Path) -> None:
    origin = source(tmp_path, "plain")
    mask = chance_mask(origin)
    write_segments(tmp_path / "seg.dcm", mask, origin)
    larger = mask.grid.cropped((-2, -1, -3), (18, 13, 12))
    again, _ = read_labels(tmp_path / "seg.dcm", TABLE, larger)
    assert np.array_equal(again.data[2:17, 1:12, 3:11], mask.data)
    assert np.count_nonzero(again.data) == np.count_nonzero(mask.data)


def test_a_drawing_in_a_tree_is_the_reference_of_its_series(tmp_path: Path) -> None:
    origin = source(tmp_path, "plain")
    mask = chance_mask(origin)
    write_contours(tmp_path / "other" / "rt.dcm", mask, origin)
    (study,) = find_studies(tmp_path).studies
    assert study.reference == tmp_path / "other" / "rt.dcm"
    (study,) = find_studies(tmp_path / "ct").studies
    assert study.reference is None
    (study,) = find_studies(tmp_path / "ct", reference=tmp_path / "other").studies
    assert study.reference == tmp_path / "other" / "rt.dcm"
    scan = read_scan(study)
    again, _ = read_labels(study.reference, TABLE, scan.volume.grid)
    assert np.array_equal(again.data, mask.data)


@pytest.mark.real
@pytest.mark.parametrize("patient", ["STS_019", "STS_025"])
@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_real_contours_are_the_published_mask_voxel_for_voxel(
    real_data: Path, tmp_path: Path, patient: str, modality: str
) -> None:
    folder = real_data / "sarcoma" / "dicom" / patient / modality
    labels = Labels((Label("tumour", (1,)),))
    grid = read_scan(Study("a", (folder / "image",))).volume.grid
    mask, _ = read_labels(folder / "mask" / "RS.dcm", labels, grid)
    truth, _ = read_labels(
        real_data / "sarcoma/nifti" / patient / f"{modality}_mask.nii.gz", labels, grid
    )
    assert mask.data.any()
    assert np.array_equal(mask.data, truth.data)
    origin = source_of(folder / "image")
    write_segments(tmp_path / "seg.dcm", mask, origin)
    write_contours(tmp_path / "rt.dcm", mask, origin)
    for name in ("seg.dcm", "rt.dcm"):
        assert np.array_equal(read_labels(tmp_path / name, labels, grid)[0].data, mask.data)
