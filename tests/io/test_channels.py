"""Several channels a study: one grid, or an error that says how far apart they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.image_bytes import AFFINE, gz, nifti, voxels

from medseg.errors import StudyError
from medseg.image import Study, Volume
from medseg.image.resampling import resample
from medseg.io import ReadOptions, digests_of, read_scan


def put(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gz(nifti(data, affine)))
    return path


def moved(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


def test_channels_on_one_grid_stand_in_their_order(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{n}.nii.gz", voxels() + 1000 * n) for n in range(3)]
    scan = read_scan(Study("a", tuple(paths)))
    assert scan.volume.data.shape == (3, 5, 6, 7)
    assert [float(channel.min()) for channel in scan.volume.data] == [0, 1000, 2000]
    assert list(scan.digests) == ["0.nii.gz", "1.nii.gz", "2.nii.gz"]


def test_a_hair_between_channels_does_not_matter(tmp_path: Path) -> None:
    paths = (
        put(tmp_path / "a.nii.gz", voxels()),
        put(tmp_path / "b.nii.gz", voxels(), moved(0.05)),
    )
    scan = read_scan(Study("a", paths))
    assert np.array_equal(scan.volume.data[0], scan.volume.data[1])
    assert np.array_equal(scan.volume.grid.affine, AFFINE)


def test_channels_apart_are_refused_with_their_distance(tmp_path: Path) -> None:
    paths = (
        put(tmp_path / "ct.nii.gz", voxels()),
        put(tmp_path / "pet.nii.gz", voxels(), moved(2)),
    )
    with pytest.raises(StudyError, match=r"2\.00 mm away from ct.*align: resample") as caught:
        read_scan(Study("a", paths))
    assert caught.value.code == "E_GEOMETRY_CONFLICT"
    assert str(caught.value.path).endswith("pet.nii.gz")


def test_channels_of_other_shapes_are_refused_with_both(tmp_path: Path) -> None:
    paths = (put(tmp_path / "a.nii.gz", voxels()), put(tmp_path / "b.nii.gz", voxels((5, 6, 8))))
    with pytest.raises(StudyError, match=r"E_GEOMETRY_CONFLICT.*5 x 6 x 8 voxels.*5 x 6 x 7"):
        read_scan(Study("a", paths))


def test_align_brings_a_channel_onto_the_first(tmp_path: Path) -> None:
    coarse = np.diag([-4.0, -4, 6, 1]) + np.array([[0, 0, 0, 21], [0, 0, 0, 31], [0] * 4, [0] * 4])
    coarse[2, 3] = -38
    paths = (
        put(tmp_path / "a.nii.gz", voxels()),
        put(tmp_path / "b.nii.gz", voxels((4, 4, 4)), coarse),
    )
    scan = read_scan(Study("a", paths), ReadOptions(align="resample"))
    own = read_scan(Study("b", paths[1:])).volume
    wanted = resample(own, scan.volume.grid, "linear")
    assert np.array_equal(scan.volume.data[1], wanted.data[0])
    assert np.array_equal(scan.volume.data[0], voxels())


def test_align_copies_what_is_only_turned(tmp_path: Path) -> None:
    turned = voxels()[::-1]
    affine = AFFINE @ np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    paths = (put(tmp_path / "a.nii.gz", voxels()), put(tmp_path / "b.nii.gz", turned, affine))
    scan = read_scan(Study("a", paths), ReadOptions(align="resample"))
    assert np.array_equal(scan.volume.data[0], scan.volume.data[1])


def test_channels_that_do_not_meet_cannot_be_aligned(tmp_path: Path) -> None:
    paths = (put(tmp_path / "a.nii.gz", voxels()), put(tmp_path / "b.nii.gz", voxels(), moved(500)))
    with pytest.raises(StudyError, match=r"E_GEOMETRY_CONFLICT.*no voxel in common"):
        read_scan(Study("a", paths), ReadOptions(align="resample"))


def test_a_single_image_serves_every_frame_of_a_series(tmp_path: Path) -> None:
    paths = (put(tmp_path / "a.nii.gz", voxels((5, 6, 7, 3))), put(tmp_path / "b.nii.gz", voxels()))
    scan = read_scan(Study("a", paths), ReadOptions(frames="each"))
    assert [frame.data.shape for frame in scan.frames] == [(2, 5, 6, 7)] * 3
    assert all(np.array_equal(frame.data[1], voxels()) for frame in scan.frames)


def test_series_of_different_lengths_are_refused(tmp_path: Path) -> None:
    paths = tuple(put(tmp_path / f"{n}.nii.gz", voxels((5, 6, 7, n))) for n in (3, 2))
    with pytest.raises(StudyError, match=r"E_NDIM.*2 frames and 3\.nii\.gz 3"):
        read_scan(Study("a", paths), ReadOptions(frames="each"))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = tuple(put(tmp_path / sub / "image.nii.gz", voxels()) for sub in ("t1", "t2"))
    scan = read_scan(Study("a", paths))
    assert list(scan.digests) == ["t1/image.nii.gz", "t2/image.nii.gz"]
    assert digests_of(scan.study) == scan.digests


def test_cautions_name_the_channel(tmp_path: Path) -> None:
    paths = (put(tmp_path / "a.nii.gz", voxels()), put(tmp_path / "b.nii.gz", voxels() * 0))
    (caution,) = read_scan(Study("a", paths)).cautions
    assert caution.code == "W_CONSTANT"
    assert caution.message.startswith("b.nii.gz: ")


def test_all_channels_count_towards_the_memory(tmp_path: Path) -> None:
    paths = tuple(put(tmp_path / f"{n}.nii.gz", voxels((20, 20, 20))) for n in range(4))
    one = 4 * 20**3 / 2**30
    with pytest.raises(StudyError, match="E_TOO_LARGE"):
        read_scan(Study("a", paths), ReadOptions(memory_gib=4.9 * one))
    assert read_scan(Study("a", paths), ReadOptions(memory_gib=5.1 * one)).volume.channels == 4


def test_a_study_without_images_has_nothing_to_read() -> None:
    with pytest.raises(StudyError, match="E_NO_INPUT"):
        read_scan(Study("a", ()))


def test_what_is_read_can_be_handed_to_torch(tmp_path: Path) -> None:
    import torch

    paths = tuple(put(tmp_path / f"{n}.nii.gz", voxels()) for n in range(2))
    for study in (Study("a", paths[:1]), Study("a", paths)):
        volume: Volume = read_scan(study).volume
        assert torch.from_numpy(volume.data).shape == volume.data.shape
