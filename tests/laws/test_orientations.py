"""The same world image gives the same world mask, however a file stores it.

All 48 storage orders of a scan are written as NIfTI, sent through the whole corridor with
networks of random weights (whose answers hang on every last bit), and compared in the world:
0 voxels may differ, and each mask lies exactly where its scan does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.image import Grid, Study, Volume
from medseg.image.resampling import resample
from medseg.io import read_scan, write_mask
from medseg.models import DynUNet
from medseg.models.weights import weights_bytes
from medseg.pipeline import Pipeline, load_pipeline
from medseg.run.segment import segment

ORDERS = ["".join(codes) for pairs in permutations(("LR", "PA", "IS")) for codes in product(*pairs)]

PIPELINE = """\
name: random
labels: {a: 1, b: 2, c: 7}
preprocess:
  - orientation: {axcodes: RAS}
  - spacing: {pixdim: [1.1, 1.3, 1.7]}
  - normalize_intensity
inference:
"""
THREE_D = """\
  - sliding_window:
      model: {name: dynunet, widths: [4, 6, 8], spatial_dims: 3}
      weights: 3.safetensors
      window: [16, 16, 12]
      mirror: [0]
"""
TWO_D = """\
  - slices:
      model: {name: dynunet, widths: [4, 6, 8], spatial_dims: 2}
      weights: 2.safetensors
      window: [16, 16]
      axes: [0, 1, 2]
"""
CLEAN = "postprocess: [keep_largest, fill_holes]\n"


def turned(degrees: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, (i, j) = np.eye(3), [other for other in range(3) if other != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    return matrix


WORLDS = {
    "straight, isotropic": ((1.0, 1.0, 1.0), (0, 0, 0), (19, 22, 17)),
    "straight, anisotropic": ((0.7, 0.7, 5.0), (0, 0, 0), (31, 26, 7)),
    "oblique, odd sizes": ((0.9, 1.4, 2.3), (14, -9, 21), (23, 17, 13)),
    "half-way between two axes": ((0.8, 1.2, 2.0), (0, 0, 45), (21, 16, 9)),
    "one thick slice": ((0.9, 0.9, 8.0), (5, 0, 0), (25, 22, 1)),
}
LARGE = ((0.8, 1.1, 2.5), (35, -20, 10), (71, 64, 33))


def world(name: str) -> Volume:
    """An image in a patient; its affine as float32 keeps it."""
    spacing, degrees, shape = WORLDS.get(name, LARGE)
    affine = np.eye(4)
    affine[:3, :3] = turned(degrees) @ np.diag(spacing)
    affine[:3, 3] = (-13.7, 42.1, 8.3)
    chance = np.random.default_rng(7)
    image = chance.normal(100, 20, (1, *shape)).astype(np.float32)
    return Volume(image, Grid(affine.astype(np.float32).astype(np.float64), shape))


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline]:
    folder = tmp_path_factory.mktemp("random")
    for dims in (2, 3):
        torch.manual_seed(dims)
        network = DynUNet(spatial_dims=dims, widths=(4, 6, 8))(1, 4)  # type: ignore[arg-type]
        (folder / f"{dims}.safetensors").write_bytes(weights_bytes(network.state_dict()))
    made = {}
    for name, text in (("3D", THREE_D), ("2D on slices", TWO_D), ("both", THREE_D + TWO_D)):
        path = folder / f"{name}.yaml"
        path.write_text(PIPELINE + text + CLEAN)
        made[name] = load_pipeline(path)
    return made


def through_files(scan: Volume, pipeline: Pipeline, folder: Path, order: str) -> Volume:
    """Write the scan, read it, segment it, write the mask, and read that with other eyes."""
    path = folder / f"{order}.nii.gz"
    stored = nib.Nifti1Image(scan.data[0], scan.grid.affine)
    stored.set_sform(scan.grid.affine, 2)
    stored.set_qform(scan.grid.affine, 1)
    nib.save(stored, path)
    read = read_scan(Study(order, (path,)), pipeline.input)
    write_mask(folder / f"mask_{order}.nii.gz", segment(read.volume, pipeline).mask, read.geometry)
    mine, theirs = nib.load(folder / f"mask_{order}.nii.gz"), nib.load(path)
    assert mine.shape == theirs.shape
    for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d"):
        assert mine.header[field].tobytes() == theirs.header[field].tobytes(), field
    for field in ("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "qform_code"):
        assert mine.header[field].tobytes() == theirs.header[field].tobytes(), field
    assert mine.header["pixdim"][:4].tobytes() == theirs.header["pixdim"][:4].tobytes()
    assert mine.affine.tobytes() == theirs.affine.tobytes()
    return Volume(np.asarray(mine.dataobj).astype(np.float32)[None], scan.grid)


def differences(name: str, pipeline: Pipeline, folder: Path, orders: list[str]) -> int:
    """Voxels that differ, in the world, between the first order's mask and the others'."""
    image, first, count = world(name), None, 0
    for order in orders:
        scan = resample(image, image.grid.oriented(order))
        mask = through_files(scan, pipeline, folder, order)
        there = resample(mask, image.grid).data
        if first is None:
            first = there
            assert len(np.unique(first)) > 2, "a mask of one label would prove nothing"
        count += int((there != first).sum())
    return count


@pytest.mark.parametrize("network", ["3D", "2D on slices"])
@pytest.mark.parametrize("name", WORLDS)
def test_all_48_storage_orders_give_the_same_world_mask(
    name: str, network: str, pipelines: dict[str, Pipeline], tmp_path: Path
) -> None:
    assert len(set(ORDERS)) == 48
    assert differences(name, pipelines[network], tmp_path, ORDERS) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [*WORLDS, "large"])
def test_an_ensemble_of_2d_and_3d_keeps_the_law(
    name: str, pipelines: dict[str, Pipeline], tmp_path: Path
) -> None:
    assert differences(name, pipelines["both"], tmp_path, ORDERS) == 0


def test_without_an_orientation_the_law_is_broken(
    pipelines: dict[str, Pipeline], tmp_path: Path
) -> None:
    """So the comparison can fail."""
    pipeline = pipelines["3D"]
    careless = replace(pipeline, preprocess=pipeline.preprocess[1:])
    assert differences("oblique, odd sizes", careless, tmp_path, ["RAS", "LPI"]) > 0
