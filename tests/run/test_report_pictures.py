"""Slices, outlines and volumes of a report: each voxel where a radiologist looks for it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import stat
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from skimage.io import imread

from medseg.image import Grid, Label, LabelMap, Labels, Volume
from medseg.io import ReadOptions
from medseg.io.options import SeriesRule
from medseg.run.report.drawing import outline, png
from medseg.run.report.material import Material, on_one_grid
from medseg.run.report.plots import metric_label
from medseg.run.report.slices import LETTERS, PLANES, chosen, framed, turned, window_of
from medseg.run.report.viewer import EDGE, INSIDE, MOST_VOXELS, edged, fitted, packed
from medseg.run.report.viewer_files import ViewerMissingError, fetch_viewer, viewer_script
from medseg.run.sources import Sources, read_sources, write_sources

ONE = Labels((Label("ball", (1,)),))
CODES = ["".join(c) for c in ("RAS", "LPS", "SAR", "PIL", "IRA", "ASL")]
WHOLE = (slice(None), slice(None), slice(None))


def made(at: tuple[int, int, int], codes: str = "RAS") -> Material:
    """A scan that is bright in one voxel, stored in the order of ``codes``, its mask there too."""
    grid = Grid(np.diag([1.0, 2.0, 3.0, 1.0]), (7, 6, 5))
    mask = np.zeros(grid.shape, np.uint8)
    mask[at] = 1
    stored = grid.oriented(codes)
    inverse = np.linalg.inv(stored.affine) @ grid.affine
    place = tuple(np.rint(inverse @ [*at, 1])[:3].astype(int))
    data = np.zeros(stored.shape, np.uint8)
    data[place] = 1
    scan = Volume(data[None].astype(np.float32), stored)
    return on_one_grid(stored, scan, None, {"": LabelMap(data, stored, ONE)}, ())


@pytest.mark.parametrize("codes", CODES)
def test_right_is_on_the_left_in_every_storage_order(codes: str) -> None:
    """The voxel that is farthest right, anterior and superior in the patient."""
    material = made((6, 5, 4), codes)
    ends = {"R": 6, "A": 5, "S": 4}
    for shown in chosen(material):
        if shown.why != "largest":
            continue
        assert shown.index == {"axial": 4, "coronal": 5, "sagittal": 6}[shown.plane]
        picture, _, _ = turned(material.scan, shown, WHOLE, material.grid.spacing_mm)
        row, column = np.argwhere(picture)[0]
        left, _, top, _ = LETTERS[shown.plane]
        assert left in ends
        assert top in ends
        assert (row, column) == (0, 0)


def test_each_plane_has_its_worst_its_largest_and_its_middle_slice() -> None:
    grid = Grid(np.eye(4), (20, 20, 20))
    reference, mask = np.zeros((2, *grid.shape), np.uint8)
    reference[5:15, 5:15, 5:12] = 1
    reference[4:16, 4:16, 9] = 1
    mask[5:15, 5:15, 5:12] = 1
    mask[:, :, 6] = 1
    both = [LabelMap(data, grid, ONE) for data in (reference, mask)]
    found = chosen(Material(grid, None, both[0], {"": both[1]}))
    axial = {one.why: one for one in found if one.plane == "axial"}
    assert (axial["worst"].index, axial["largest"].index) == (6, 9)
    assert axial["worst"].differing == 400 - 100
    assert {(one.plane, one.why) for one in found} == {
        (plane, why) for plane in PLANES for why in ("worst", "largest", "middle")
    }


def test_nothing_marked_is_shown_whole() -> None:
    grid = Grid(np.eye(4), (4, 5, 6))
    empty = LabelMap(np.zeros(grid.shape, np.uint8), grid, ONE)
    material = Material(grid, None, None, {"": empty})
    assert [len(range(*one.indices(9))) for one in framed(material)] == [4, 5, 6]
    assert len(chosen(material)) == 6
    assert window_of(material) is None


def test_a_scan_with_air_is_seen_as_ct() -> None:
    material = made((3, 3, 2))
    data = np.linspace(-1000, 1000, 210, dtype=np.float32).reshape(7, 6, 5)
    window = window_of(Material(material.grid, data, None, material.masks))
    assert window is not None
    assert (window.low, window.high) == (-160, 240)
    assert window.applied(np.array([-160, 40, 240, 999])).tolist() == [0, 128, 255, 255]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.3, 5), st.floats(0.3, 5))
def test_an_outline_surrounds_what_it_outlines(
    rows: int, columns: int, across: float, down: float
) -> None:
    """Half a voxel's corner is cut at each of four corners; all else is exact."""
    where = np.zeros((rows + 2, columns + 3), bool)
    where[1:-1, 2:-1] = True
    path = outline(where, across, down)
    assert path.count("M") == 1
    points = np.array([p.split() for p in path[1:].split("L")], float)
    x, y = points.T
    area = 0.5 * abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
    wanted = (rows * columns - 4 * 0.125) * across * down
    assert area == pytest.approx(wanted, rel=2e-2)
    assert np.allclose([x.min(), x.max()], [2 * across, (2 + columns) * across], rtol=1e-3)


def test_nothing_has_no_outline() -> None:
    assert outline(np.zeros((4, 4), bool), 1, 1) == ""


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_picture_is_read_by_another_program_as_it_was_written(
    rows: int, columns: int, seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)
    assert np.array_equal(imread(io.BytesIO(png(grey))), grey)


@settings(deadline=None)
@given(st.lists(st.integers(1, 700), min_size=3, max_size=3), st.floats(0.4, 5))
def test_what_the_viewer_gets_is_small_enough_and_lies_where_the_scan_lies(
    shape: list[int], thick: float
) -> None:
    grid = Grid(np.diag([0.7, 0.7, thick, 1.0]), (shape[0], shape[1], shape[2]))
    new = fitted(grid)
    assert np.prod(new.shape) <= MOST_VOXELS
    middles = [one.world((np.array(one.shape) - 1) / 2) for one in (grid, new)]
    assert np.allclose(*middles, atol=1e-6)
    sides = [np.multiply(one.shape, one.spacing_mm) for one in (grid, new)]
    assert (np.abs(sides[0] - sides[1]) <= np.max(new.spacing_mm)).all()


def test_edges_are_what_an_erosion_takes_away() -> None:
    grid = Grid(np.eye(4), (12, 12, 12))
    data = np.random.default_rng(0).random(grid.shape) < 0.9
    found = edged(LabelMap(data.astype(np.uint8), grid, ONE), grid)
    inner = binary_erosion(data)
    assert np.array_equal(found, np.where(data, EDGE, 0) + (INSIDE - EDGE) * inner)


def test_a_packed_volume_is_a_nifti_in_its_place() -> None:
    affine = np.array([[0, -0.8, 0, 3], [0.6, 0, 0.1, -4], [0, 0.2, 2.5, 5], [0, 0, 0, 1]])
    grid = Grid(affine, (5, 6, 7))
    data = np.arange(210, dtype=np.uint8).reshape(grid.shape)
    text = packed(data, grid)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))
    assert np.allclose(image.affine, affine, atol=1e-5)
    assert np.array_equal(np.asarray(image.dataobj), data)
    assert text == packed(data, grid)


@pytest.mark.parametrize(
    ("metric", "told"),
    [("dice", "Dice"), ("hd95_surfels", "HD95, mm"), ("nsd_1mm_border", "NSD at 1 mm (border)"),
     ("volume_difference_percent", "volume difference, %"), ("lesion_f1", "lesion f1")],
)  # fmt: skip
def test_a_metric_is_called_as_people_call_it(metric: str, told: str) -> None:
    assert metric_label(metric) == told


def test_sources_come_back_as_they_were(tmp_path: Path) -> None:
    options = ReadOptions(geometry="sform", series=SeriesRule(number=3), rois={"ball": "GTV"})
    labels = Labels((Label("a", (1, 2), colour="#ffffff"), Label("b", (2,))), ignore=9)
    said = Sources(
        tmp_path / "s", tmp_path / "r", None, ("T1", "T2"), labels, options, {"a": tmp_path / "a"}
    )
    write_sources(tmp_path / "out", said)
    assert read_sources(tmp_path / "out") == said
    assert str(tmp_path) not in (tmp_path / "out/sources.json").read_text()
    assert read_sources(tmp_path / "none") == Sources()


def fake_npm(folder: Path, content: bytes) -> str:
    """A folder for PATH with an npm that gives an archive of another script."""
    with tarfile.open(folder / "given.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/dist/niivue.umd.js")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    told = json.dumps([{"filename": "got.tgz"}])
    (folder / "npm").write_text(f"#!/bin/sh\ncp {folder}/given.tgz got.tgz\necho '{told}'\n")
    (folder / "npm").chmod(stat.S_IRWXU)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_a_viewer_with_another_digest_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", fake_npm(tmp_path, b"alert(1)"))
    (tmp_path / "to").mkdir()
    with pytest.raises(ViewerMissingError, match="than the one pinned"):
        fetch_viewer(tmp_path / "to")
    assert viewer_script(tmp_path / "to") is None


def test_without_npm_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ViewerMissingError, match="npm is not installed"):
        fetch_viewer(tmp_path)
