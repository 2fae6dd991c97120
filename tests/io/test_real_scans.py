"""Real scans through the strict door, held against nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import StudyError
from medseg.image import Label, Labels, Study
from medseg.io import ReadOptions, read_labels, read_scan, write_mask

pytestmark = pytest.mark.real
HIPPOCAMPUS = Labels((Label("anterior", (1,)), Label("posterior", (2,))))
TUMOUR = Labels((Label("tumour", (1,)),))


def compared(image: Path, mask: Path, labels: Labels, copy: Path) -> None:
    scan = read_scan(Study(image.name, (image,)))
    theirs = nib.load(image)
    assert np.array_equal(scan.volume.data[0], np.asarray(theirs.dataobj, np.float32))
    assert np.allclose(scan.volume.grid.affine, theirs.affine, atol=1e-5)
    assert scan.cautions == ()
    reference, cautions = read_labels(mask, labels, scan.volume.grid)
    assert np.array_equal(reference.data, np.asarray(nib.load(mask).dataobj))
    assert cautions == ()
    write_mask(copy, reference, scan.geometry)
    written = nib.load(copy)
    assert np.array_equal(np.asarray(written.dataobj), reference.data)
    assert written.shape == theirs.shape
    assert written.affine.tobytes() == theirs.affine.tobytes()
    for code in ("sform_code", "qform_code", "xyzt_units"):
        assert written.header[code] == theirs.header[code]


def test_every_hippocampus_is_read_and_its_mask_written_back(
    real_data: Path, tmp_path: Path
) -> None:
    masks = sorted((real_data / "hippocampus" / "labelsTr").glob("*.nii.gz"))
    assert len(masks) == 208
    for mask in masks:
        image = real_data / "hippocampus" / "imagesTr" / mask.name
        compared(image, mask, HIPPOCAMPUS, tmp_path / "mask.nii.gz")


def test_every_sarcoma_is_read_and_its_mask_written_back(real_data: Path, tmp_path: Path) -> None:
    masks = sorted((real_data / "sarcoma" / "nifti").glob("*/*_mask.nii.gz"))
    assert len(masks) == 61
    for mask in masks:
        image = mask.with_name(mask.name.replace("_mask", "_image"))
        compared(image, mask, TUMOUR, tmp_path / "mask.nii.gz")


def test_pet_and_ct_of_a_patient_meet_on_one_grid(real_data: Path) -> None:
    folder = real_data / "sarcoma" / "nifti" / "STS_002"
    study = Study("STS_002", (folder / "PET_image.nii.gz", folder / "CT_image.nii.gz"))
    with pytest.raises(StudyError, match="E_GEOMETRY_CONFLICT"):
        read_scan(study)
    scan = read_scan(study, ReadOptions(align="resample"))
    assert scan.volume.channels == 2
    assert scan.volume.grid.axcodes == "LPS"
    assert scan.volume.data[1].min() < -500


def test_colours_among_real_files_are_refused(real_data: Path) -> None:
    files = sorted((real_data / "dicom_edge" / "generic").rglob("*.nii.gz"))
    refused = []
    for path in files:
        try:
            read_scan(Study(path.name, (path,)))
        except StudyError as error:
            refused.append((path.parent.name, error.code))
    assert refused == [("rgb", "E_DTYPE")] * 2
    assert len(files) > 10
