"""DICOM series become scans where they are in the patient, or are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.dicom import TO_RAS, lps, pydicom, write_enhanced, write_series

from medseg.errors import StudyError
from medseg.image import Study
from medseg.io import ReadOptions, Scan, read_scan
from medseg.io.options import SeriesRule

SHAPE = (14, 10, 12)
MARKER = (9, 3, 7)


def phantom() -> NDArray[np.int16]:
    """Slices that differ everywhere, and a bright voxel at MARKER."""
    x, y, z = np.indices(SHAPE)
    data = (x + 3 * y + 7 * z).astype(np.int16)
    data[MARKER] = 3000
    return data


def read(folder: Path, **options: Any) -> Scan:
    return read_scan(Study("one", (folder,)), ReadOptions(**options))


def marker_off_mm(scan: Scan, affine: NDArray[np.float64]) -> float:
    """How far the brightest voxel is from where the test put it."""
    volume = scan.volume
    index = np.unravel_index(int(volume.data[0].argmax()), volume.grid.shape)
    truth = (TO_RAS @ affine @ (*MARKER, 1))[:3]
    return float(np.linalg.norm(volume.grid.world(index) - truth))


def codes(scan: Scan) -> list[str]:
    return [caution.code for caution in scan.cautions]


@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_voxels_lie_where_their_headers_say(tmp_path: Path, tilt: float) -> None:
    affine = lps(tilt=tilt)
    write_series(tmp_path, phantom(), affine)
    scan = read(tmp_path)
    assert scan.volume.grid.shape == SHAPE
    assert np.allclose(scan.volume.grid.affine, TO_RAS @ affine, atol=1e-4)
    assert np.array_equal(scan.volume.data[0], phantom())
    assert marker_off_mm(scan, affine) < 0.1
    assert ("W_GEOMETRY_SHEAR" in codes(scan)) == (tilt > 0)


def test_order_comes_from_positions_whatever_the_numbers_and_names_say(tmp_path: Path) -> None:
    affine = lps()
    numbers = np.random.default_rng(1).permutation(12).tolist()
    paths = write_series(tmp_path, phantom(), affine, numbers=numbers)
    for old, number in zip(paths, reversed(range(12)), strict=True):
        old.rename(tmp_path / f"{number:02d}")
    assert np.array_equal(read(tmp_path).volume.data[0], phantom())


def test_slices_that_run_against_the_normal_are_turned_with_the_affine(tmp_path: Path) -> None:
    affine = lps()
    affine[:3, 3] += 11 * affine[:3, 2]
    affine[:3, 2] *= -1
    write_series(tmp_path, phantom(), affine)
    scan = read(tmp_path)
    assert marker_off_mm(scan, affine) < 0.1
    assert np.array_equal(scan.volume.data[0], phantom()[:, :, ::-1])


def test_a_missing_slice_is_refused_by_the_names_of_its_neighbours(tmp_path: Path) -> None:
    write_series(tmp_path, phantom(), lps(), leave_out=[4])
    with pytest.raises(StudyError, match=r"E_DICOM_GAP.*IM003\.dcm and IM005\.dcm \(6\.000 mm\)"):
        read(tmp_path)


@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_missing_slices_are_filled_in_where_that_is_asked_for(tmp_path: Path, tilt: float) -> None:
    affine = lps(tilt=tilt)
    write_series(tmp_path, phantom(), affine, leave_out=[3, 4])
    scan = read(tmp_path, missing_slices="interpolate")
    assert scan.volume.grid.shape == SHAPE
    assert marker_off_mm(scan, affine) < 0.1
    assert "W_DICOM_GAP" in codes(scan)
    # The phantom is linear along its slices, so the mean of neighbours is the truth.
    assert np.allclose(scan.volume.data[0], phantom(), atol=1e-3)


def test_positions_that_are_rounded_are_no_reason_to_complain(tmp_path: Path) -> None:
    affine = lps((0.7, 0.9, 0.625))
    places = [[round(float(x), 2) for x in (affine @ (0, 0, z, 1))[:3]] for z in range(12)]
    write_series(tmp_path, phantom(), affine, each={"ImagePositionPatient": places})
    scan = read(tmp_path)
    assert codes(scan) == []
    assert marker_off_mm(scan, affine) < 0.1


def test_two_distances_in_one_series_are_refused(tmp_path: Path) -> None:
    affine = lps()
    at = [3.0 * z if z < 8 else 21 + 5.0 * (z - 7) for z in range(12)]
    normal = affine[:3, 2] / 3
    places = [(affine[:3, 3] + mm * normal).round(6).tolist() for mm in at]
    write_series(tmp_path, phantom(), affine, each={"ImagePositionPatient": places})
    with pytest.raises(
        StudyError, match=r"E_DICOM_SPACING.*3 mm.*expected, 5 mm.*IM007\.dcm and IM008\.dcm"
    ):
        read(tmp_path)


def test_a_slice_that_is_shifted_sideways_is_refused(tmp_path: Path) -> None:
    affine = lps()
    places = [(affine @ (0, 0, z, 1))[:3].round(6) for z in range(12)]
    places[6] = (places[6] + affine[:3, 0]).round(6)
    each = {"ImagePositionPatient": [place.tolist() for place in places]}
    write_series(tmp_path, phantom(), affine, each=each)
    with pytest.raises(StudyError, match=r"E_DICOM_SPACING.*sideways.*IM00[56]\.dcm"):
        read(tmp_path)


def test_a_slice_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom(), lps())
    (tmp_path / "IM004b.dcm").write_bytes(paths[4].read_bytes())
    with pytest.raises(StudyError, match=r"E_DICOM_DUPLICATE.*IM004\.dcm and IM004b\.dcm"):
        read(tmp_path)


def test_two_series_of_one_folder_are_not_mixed_and_a_rule_picks(tmp_path: Path) -> None:
    affine = lps()
    write_series(tmp_path, phantom(), affine, prefix="A", SeriesDescription="arterial thin")
    other = affine.copy()
    other[:3, 3] += 0.5 * affine[:3, 2]
    write_series(tmp_path, phantom() + 1, other, prefix="B", SeriesNumber=3)
    with pytest.raises(StudyError, match=r"E_DICOM_MIXED.*series 2.*series 3") as caught:
        read(tmp_path)
    assert "arterial" not in str(caught.value)
    for rule in (SeriesRule(number=2), SeriesRule(modality="CT", description="Arterial")):
        scan = read(tmp_path, series=rule)
        assert np.array_equal(scan.volume.data[0], phantom())
        assert marker_off_mm(scan, affine) < 0.1
    assert marker_off_mm(read(tmp_path, series=SeriesRule(number=3)), other) < 0.1
    with pytest.raises(StudyError, match="E_NO_INPUT"):
        read(tmp_path, series=SeriesRule(modality="MR"))


def test_two_phases_of_one_series_are_two_stacks(tmp_path: Path) -> None:
    both = np.concatenate([phantom(), phantom() + 1], axis=2)
    affine = lps()
    places = [(affine @ (0, 0, z % 12, 1))[:3].round(6).tolist() for z in range(24)]
    phases = [1] * 12 + [2] * 12
    each = {"ImagePositionPatient": places, "TemporalPositionIdentifier": phases}
    write_series(tmp_path, both, affine, each=each)
    with pytest.raises(StudyError, match=r"E_DICOM_MIXED.*2 stacks"):
        read(tmp_path)
    scan = read(tmp_path, series=SeriesRule(stack=2))
    assert np.array_equal(scan.volume.data[0], phantom() + 1)
    assert marker_off_mm(scan, affine) < 0.1


def test_a_localizer_is_set_aside_and_an_unnamed_one_is_refused(tmp_path: Path) -> None:
    affine = lps()
    paths = write_series(tmp_path, phantom(), affine)
    scout = pydicom.dcmread(paths[0])
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    scout.SOPInstanceUID = pydicom.uid.generate_uid()
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(tmp_path / "A_scout.dcm")
    assert np.array_equal(read(tmp_path).volume.data[0], phantom())
    scout.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    scout.save_as(tmp_path / "A_scout.dcm")
    with pytest.raises(StudyError, match=r"E_DICOM_MIXED.*A_scout\.dcm"):
        read(tmp_path)


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_tag_that_is_missing_is_named_and_nothing_guessed(tmp_path: Path, tag: str) -> None:
    write_series(tmp_path, phantom(), lps(), **{tag: None})
    with pytest.raises(StudyError, match=f"E_DICOM_TAG.*{tag}"):
        read(tmp_path)


def test_every_slice_has_a_scale_of_its_own(tmp_path: Path) -> None:
    slopes = [0.25 * (z + 1) for z in range(12)]
    each = {"RescaleSlope": slopes, "RescaleIntercept": list(range(12))}
    write_series(tmp_path, phantom(), lps(), each=each)
    truth = phantom() * np.array(slopes) + np.arange(12)
    assert np.allclose(read(tmp_path).volume.data[0], truth, rtol=1e-6)


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_frames_of_one_enhanced_file_are_sorted_scaled_and_told_apart(
    tmp_path: Path, tilt: float, modality: str
) -> None:
    affine = lps(tilt=tilt)
    order = np.random.default_rng(2).permutation(12).tolist()
    path = write_enhanced(tmp_path / "one" / "e.dcm", phantom(), affine, order, modality=modality)
    truth = phantom() * (1.0 + np.arange(12)) + 5.0 * np.arange(12)
    for place in (path, path.parent):
        scan = read(place)
        assert np.array_equal(scan.volume.data[0], truth)
        assert np.allclose(scan.volume.grid.affine, TO_RAS @ affine, atol=1e-4)
        assert marker_off_mm(scan, affine) < 0.1
    echoes = write_enhanced(tmp_path / "two" / "e.dcm", phantom(), affine, order, echoes=2)
    with pytest.raises(StudyError, match=r"E_DICOM_MIXED.*2 stacks"):
        read(echoes)
    second = (phantom() + 1) * (1.0 + np.arange(12)) + 5.0 * np.arange(12)
    assert np.array_equal(read(echoes, series=SeriesRule(stack=2)).volume.data[0], second)


def test_a_file_that_is_cut_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom(), lps())
    paths[5].write_bytes(paths[5].read_bytes()[:-100])
    with pytest.raises(StudyError, match=r"E_TRUNCATED.*IM005\.dcm"):
        read(tmp_path)


def test_a_file_cut_within_its_header_is_told(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom(), lps())
    paths[0].write_bytes(paths[0].read_bytes()[:300])
    scan = read(tmp_path)
    assert "W_DICOM_ASIDE" in codes(scan)


def test_one_slice_alone_has_its_thickness(tmp_path: Path) -> None:
    write_series(tmp_path, phantom()[:, :, :1], lps())
    scan = read(tmp_path)
    assert scan.volume.grid.spacing_mm == pytest.approx((0.7, 0.9, 3.0))
    assert "W_SPACING" in codes(scan)


def test_a_series_that_would_not_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_series(tmp_path, phantom(), lps())
    with pytest.raises(StudyError, match="E_TOO_LARGE"):
        read(tmp_path, memory_gib=1e-6)
    with pytest.raises(StudyError, match=r"E_TOO_LARGE: .* voxels, limits.voxels is 100"):
        read(tmp_path, voxels=100)


def test_a_transfer_syntax_that_is_not_read_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom(), lps())
    one = pydicom.dcmread(paths[0])
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    one.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    one["PixelData"].is_undefined_length = True
    one.save_as(paths[0])
    with pytest.raises(StudyError, match=r"E_DICOM_SYNTAX.*1\.2\.840\.10008\.1\.2\.4\.100"):
        read(tmp_path)


def _jpeg_2000(found: Any) -> None:
    found.compress(pydicom.uid.JPEG2000Lossless)


def _jpeg_ls(found: Any) -> None:
    found.compress(pydicom.uid.JPEGLSLossless)


def _rle(found: Any) -> None:
    found.compress(pydicom.uid.RLELossless)


def _deflated(found: Any) -> None:
    found.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("packed", [_jpeg_2000, _jpeg_ls, _rle, _deflated])
def test_packed_pixels_are_those_that_were_packed(
    tmp_path: Path, packed: Callable[[Any], None]
) -> None:
    data = np.random.default_rng(3).integers(-1000, 3000, (40, 36, 3), np.int16)
    for path in write_series(tmp_path, data, lps()):
        found = pydicom.dcmread(path)
        packed(found)
        found.save_as(path)
    assert np.array_equal(read(tmp_path).volume.data[0], data)


def test_jpeg_of_eight_bits_is_what_another_decoder_makes_of_it(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    smooth = (np.add.outer(np.arange(40) * 3, np.arange(36) * 2) % 256).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(smooth.T).save(buffer, "JPEG", quality=90)
    truth = np.array(Image.open(BytesIO(buffer.getvalue())))
    for path in write_series(tmp_path, np.zeros((40, 36, 2), np.int16), lps()):
        found = pydicom.dcmread(path)
        found.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
        found.BitsAllocated = found.BitsStored = 8
        found.HighBit, found.PixelRepresentation = 7, 0
        found.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
        found["PixelData"].is_undefined_length = True
        found["PixelData"].VR = "OB"
        found.save_as(path)
    ours = read(tmp_path).volume.data[0]
    assert np.abs(ours[:, :, 1] - truth.T).max() <= 1


def test_pixels_that_cannot_be_unpacked_are_an_error_with_a_name(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom(), lps())
    one = pydicom.dcmread(paths[2])
    one.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    one.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
    one["PixelData"].is_undefined_length = True
    one.save_as(paths[2])
    with pytest.raises(StudyError, match=r"(E_DICOM_SYNTAX|E_WORKER_DIED).*IM002\.dcm"):
        read(tmp_path)


FAILING = {
    "gantrytilting/001": None,
    "slicecount/001": None,
    "notavolume/001": r"E_DICOM_DUPLICATE.*001\.dcm",
    "sliceincrement/001": r"E_DICOM_GAP.*IM-0001-0009-0001\.dcm and IM-0001-0010-0001\.dcm",
    "sliceincrement/002": r"E_DICOM_GAP.*IM-0001-0003\.dcm and IM-0001-0005\.dcm",
    "sliceorientation/001": r"E_DICOM_MIXED.*IM-0001-0001-0001 2\.dcm.*IM-0001-0001-0001\.dcm",
}


def farthest_off_mm(folder: Path, scan: Scan) -> float:
    """How far the first pixel of the scan's slices is from where the files say, at most.

    Slices of another orientation are not among the scan's.
    """
    grid = scan.volume.grid
    wanted = []
    for path in sorted(folder.iterdir()):
        found = pydicom.dcmread(path, stop_before_pixels=True)
        row = (TO_RAS[:3, :3] @ found.ImageOrientationPatient[:3]) * found.PixelSpacing[1]
        if np.allclose(row, grid.affine[:3, 0], atol=1e-3):
            wanted.append(TO_RAS[:3, :3] @ found.ImagePositionPatient)
    assert len(wanted) >= 2
    corners = grid.world([(0, 0, z) for z in range(grid.shape[2])])
    return max(float(np.linalg.norm(corners - one, axis=1).min()) for one in wanted)


@pytest.mark.real
@pytest.mark.parametrize(("name", "error"), FAILING.items())
def test_real_series_that_others_stumble_over(
    real_data: Path, name: str, error: str | None
) -> None:
    folder = real_data / "dicom_edge" / "failing" / name
    if error is not None:
        with pytest.raises(StudyError, match=error):
            read(folder)
    rule = SeriesRule(stack=2) if "orientation" in name else None
    if "notavolume" not in name:
        scan = read(folder, missing_slices="interpolate", series=rule)
        assert scan.volume.grid.shape[2] in (2, 4, 5)
        assert farthest_off_mm(folder, scan) < 0.1


GENERIC = [
    *("anatomical/001", "anatomical/001_implicit", "anatomical/002_non_isotropic"),
    *("compressed/001", "compressed_j2k/001", "compressed_jpeg/001"),
    *("compressed_jpegls/001", "compressed_rle/001"),
]


@pytest.mark.real
@pytest.mark.parametrize("name", GENERIC)
def test_real_series_equal_the_nifti_beside_them(real_data: Path, name: str) -> None:
    folder = real_data / "dicom_edge" / "generic" / name
    ours = read(folder).volume
    theirs = read(folder.parent / f"{folder.name}_ground_truth.nii.gz").volume
    turned = ours.grid.oriented(theirs.grid.axcodes)
    assert turned.near(theirs.grid, 0.01)
    from medseg.image.resampling import resample

    assert np.allclose(resample(ours, turned).data, theirs.data, rtol=1e-6, atol=1e-4)


@pytest.mark.real
def test_colours_are_refused_as_those_of_nifti_are(real_data: Path) -> None:
    folder = real_data / "dicom_edge" / "generic" / "rgb" / "001"
    with pytest.raises(StudyError, match=r"E_DTYPE.*RGB"):
        read(folder)
    with pytest.raises(StudyError, match="E_DTYPE"):
        read(folder.parent / "001_ground_truth.nii.gz")


def test_nothing_of_a_patient_is_in_an_error(tmp_path: Path) -> None:
    write_series(tmp_path, phantom(), lps(), leave_out=[4], PatientName="PLANTED^NAME")
    with pytest.raises(StudyError) as caught:
        read(tmp_path)
    assert not re.search("planted", repr(caught.value), re.IGNORECASE)
