"""The strict door behind MONAI's LoadImage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.image_bytes import AFFINE, NRRD, RAW, gz, nifti, voxels

from medseg.errors import StudyError
from medseg.image import Study
from medseg.io import ReadOptions, monai_reader, read_scan

# MONAI's own readers of DICOM warn that a decoder for GPUs is not installed, where pydicom is.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


def load(*paths: Path, **options: object):  # type: ignore[no-untyped-def]
    from monai.transforms import LoadImage

    transform = LoadImage(image_only=True, ensure_channel_first=True)
    transform.register(monai_reader(ReadOptions(**options)))  # type: ignore[arg-type]
    return transform([str(path) for path in paths] if len(paths) > 1 else str(paths[0]))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "without_suffix"])
def test_loadimage_gives_what_read_scan_gives(tmp_path: Path, name: str) -> None:
    raw = {"a.nii.gz": gz(nifti()), "a.nrrd": NRRD.encode() + RAW}.get(name, nifti())
    path = tmp_path / name
    path.write_bytes(raw)
    scan = read_scan(Study("a", (path,)))
    image = load(path)
    assert np.array_equal(image.numpy(), scan.volume.data)
    assert np.array_equal(image.affine.numpy(), scan.volume.grid.affine)
    assert image.meta["space"] == "RAS"


def test_loadimage_agrees_with_monais_own_reader(tmp_path: Path) -> None:
    from monai.transforms import LoadImage

    path = tmp_path / "a.nii.gz"
    path.write_bytes(gz(nifti()))
    own = LoadImage(image_only=True, ensure_channel_first=True)(str(path))
    ours = load(path)
    assert np.array_equal(ours.numpy(), own.numpy())
    assert np.allclose(ours.affine.numpy(), own.affine.numpy())
    assert np.allclose(ours.affine.numpy(), AFFINE)


def test_the_reader_can_be_named_as_loadimages_own(tmp_path: Path) -> None:
    from monai.transforms import LoadImage

    path = tmp_path / "a.nii.gz"
    path.write_bytes(gz(nifti()))
    named = LoadImage(reader=monai_reader(), image_only=True)(str(path))
    assert np.array_equal(named.numpy(), voxels())
    assert np.array_equal(named.affine.numpy(), AFFINE)


def test_several_files_are_channels(tmp_path: Path) -> None:
    paths = [tmp_path / "a.nii", tmp_path / "b.nii"]
    for number, path in enumerate(paths):
        path.write_bytes(nifti(voxels() + 500 * number))
    image = load(*paths)
    assert image.shape == (2, 5, 6, 7)
    assert [float(channel.min()) for channel in image] == [0, 500]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (gz(nifti())[:-60], "E_TRUNCATED"),
        (nifti(sform_code=0, qform_code=0), "E_GEOMETRY_MISSING"),
        (nifti(voxels(dtype="f4") * np.float32(np.nan)), "E_NONFINITE"),
    ],
)
def test_what_the_door_refuses_does_not_come_in_by_another(
    tmp_path: Path, raw: bytes, code: str
) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(raw)
    with pytest.raises(StudyError, match=code):
        load(path)


def test_options_reach_the_door(tmp_path: Path) -> None:
    data = voxels(dtype="f4")
    data[0, 0, 0] = np.nan
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(data))
    assert np.isfinite(load(path, nonfinite="fill").numpy()).all()
