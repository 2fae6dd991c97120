"""What is written is read by programs of others: dcmqi for SEG, plastimatch for RTSTRUCT.

Both come as Python packages; where one is not installed its tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from support.dicom import lps, write_series

from medseg.image import Label, LabelMap, Labels
from medseg.io import read_labels
from medseg.io.dicom.rtstruct_write import write_contours
from medseg.io.dicom.seg_write import write_segments
from medseg.io.dicom.source import Source, source_of

TABLE = Labels((Label("liver", (1,)), Label("spleen", (2,))))


def program(name: str) -> str:
    """A program beside this Python or on the path; the test is skipped where there is none."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def smooth_mask(source: Source) -> LabelMap:
    """Two balls, one of them hollow, on a grid of other columns than rows."""
    shape = source.placed.grid.shape
    x, y, z = np.indices(shape)
    near = (x - 11) ** 2 / 80 + (y - 9) ** 2 / 50 + (z - 5) ** 2 / 16
    far = (x - 25) ** 2 + (y - 14) ** 2 + 4 * (z - 5) ** 2
    data = np.where((near < 1) & (near > 0.2), 1, np.where(far < 30, 2, 0)).astype(np.uint8)
    assert (data == 1).any()
    assert (data == 2).any()
    return LabelMap(data, source.placed.grid, TABLE)


@dataclass(frozen=True)
class Drawn:
    """A folder of slices and a mask of them."""

    folder: Path
    source: Source
    mask: LabelMap


@pytest.fixture
def phantom(tmp_path: Path) -> Drawn:
    data = np.random.default_rng(0).integers(0, 100, (34, 22, 11)).astype(np.int16)
    write_series(tmp_path / "ct", data, lps((0.7, 0.95, 2.5)))
    source = source_of(tmp_path / "ct")
    return Drawn(tmp_path / "ct", source, smooth_mask(source))


@pytest.fixture
def tumour(real_data: Path) -> Drawn:
    folder = real_data / "sarcoma" / "dicom" / "STS_019" / "CT"
    source = source_of(folder / "image")
    labels = Labels((Label("tumour", (1,)),))
    mask, _ = read_labels(folder / "mask" / "RS.dcm", labels, source.placed.grid)
    return Drawn(folder / "image", source, mask)


def on_grid(image: Any, mask: LabelMap) -> NDArray[Any]:
    """Another program's voxels, asked for at the centres of ours."""
    values = SimpleITK.GetArrayFromImage(image).T
    index = np.indices(mask.grid.shape).reshape(3, -1).T
    points = mask.grid.world(index) * (-1, -1, 1)
    turn = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    at = (points - np.array(image.GetOrigin())) @ np.linalg.inv(turn).T
    near = np.rint(at).astype(int)
    inside = ((near >= 0) & (near < values.shape)).all(axis=1)
    assert np.abs(at - near)[inside].max() < 0.05
    out = np.zeros(len(index), values.dtype)
    out[inside] = values[tuple(near[inside].T)]
    return out.reshape(mask.grid.shape)


def check_dcmqi(drawn: Drawn, folder: Path) -> None:
    reader = program("segimage2itkimage")
    write_segments(folder / "seg.dcm", drawn.mask, drawn.source)
    out = folder / "out"
    out.mkdir()
    ran(reader, "--inputDICOM", folder / "seg.dcm", "--outputDirectory", out)
    for number, label in enumerate(drawn.mask.labels, 1):
        (path,) = out.glob(f"*{number}.nrrd")
        theirs = on_grid(SimpleITK.ReadImage(str(path)), drawn.mask)
        assert np.array_equal(theirs > 0, drawn.mask.where(label.name))


def check_plastimatch(drawn: Drawn, folder: Path) -> None:
    reader = program("plastimatch")
    both = folder / "both"
    shutil.copytree(drawn.folder, both)
    write_contours(both / "rt.dcm", drawn.mask, drawn.source)
    place = ("--output-prefix", folder / "out", "--prefix-format", "nrrd")
    ran(reader, "convert", "--input", both / "rt.dcm", "--referenced-ct", drawn.folder, *place)
    for label in drawn.mask.labels:
        image = SimpleITK.ReadImage(str(folder / "out" / f"{label.name}.nrrd"))
        theirs = on_grid(image, drawn.mask)
        assert np.array_equal(theirs > 0, drawn.mask.where(label.name)), label.name


def ran(*words: Any) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dcmqi_reads_a_seg_voxel_for_voxel(phantom: Drawn, tmp_path: Path) -> None:
    check_dcmqi(phantom, tmp_path)


def test_plastimatch_reads_an_rtstruct_voxel_for_voxel(phantom: Drawn, tmp_path: Path) -> None:
    check_plastimatch(phantom, tmp_path)


@pytest.mark.real
def test_dcmqi_reads_a_real_tumour_voxel_for_voxel(tumour: Drawn, tmp_path: Path) -> None:
    check_dcmqi(tumour, tmp_path)


@pytest.mark.real
def test_plastimatch_reads_a_real_tumour_voxel_for_voxel(tumour: Drawn, tmp_path: Path) -> None:
    check_plastimatch(tumour, tmp_path)
