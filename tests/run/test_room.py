"""What a study will take is told before a voxel of it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg import run
from medseg.codes import CODES
from medseg.errors import StudyError
from medseg.image import Grid
from medseg.io.nifti_header import NIFTI1
from medseg.pipeline import Limits, Pipeline, Site, load_pipeline
from medseg.run import job
from medseg.run.room import check_room, foreseen

ORGANS = ", ".join(f"organ_{n}: {n}" for n in range(1, 105))
PIPELINE = """
name: organs
labels: {{{labels}}}
preprocess:
  - orientation: {{axcodes: RAS}}
  - spacing: {{pixdim: [{side}, {side}, {side}]}}
  - scale_intensity_range: {{a_min: -500, a_max: 500, b_min: -1, b_max: 1, clip: true}}
{crop}inference:
  - sliding_window:
      model: {{name: dynunet, widths: [8, 16, 32], norm: batch}}
      weights: none.safetensors
      window: [96, 96, 96]
"""
HUGE = Grid(np.diag([0.5, 0.5, 0.5, 1.0]), (1024, 1024, 1000))


def pipeline(folder: Path, side: float, crop: str = "") -> Pipeline:
    path = folder / "organs.yaml"
    path.write_text(PIPELINE.format(labels=ORGANS, side=side, crop=crop))
    return load_pipeline(path)


def huge_scan(folder: Path) -> Path:
    """A NIfTI file of 1024 x 1024 x 1000 zeros that takes no room on the disk."""
    header = np.zeros((), NIFTI1)
    header["sizeof_hdr"], header["dim"] = 348, (3, *HUGE.shape, 1, 1, 1, 1)
    header["datatype"], header["bitpix"], header["vox_offset"] = 4, 16, 352
    header["pixdim"], header["sform_code"] = (1, 0.5, 0.5, 0.5, 1, 1, 1, 1), 1
    header["srow"], header["magic"] = HUGE.affine[:3].ravel(), b"n+1\0"
    path = folder / "scan.nii"
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.truncate(352 + 2 * int(np.prod(HUGE.shape)))
    return path


def test_a_huge_scan_is_refused_with_the_sizes_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pipeline(tmp_path, 0.5)
    (tmp_path / "none.safetensors").write_bytes(b"no weights")
    monkeypatch.setattr(job, "read_scan", lambda *_: pytest.fail("the scan was read"))
    monkeypatch.setattr("medseg.run.predict.check_ready", lambda _: None)
    summary = run(
        asked,
        input=huge_scan(tmp_path),
        output=tmp_path / "out",
        site=Site(limits=Limits(memory_gib=8)),
    )
    (failure,) = summary.failures
    assert failure.error is not None
    assert failure.error.code == "E_TOO_LARGE"
    for told in ("105 channels", "1024x1024x1000 voxels", "windows added up", "memory_gib is 8"):
        assert told in failure.error.message


def test_the_same_scan_is_taken_at_a_spacing_that_fits(tmp_path: Path) -> None:
    asked = pipeline(tmp_path, 2.0)
    seen = foreseen(HUGE, asked)
    assert seen is not None
    assert seen.shape == (256, 256, 250)
    parts = check_room(1, seen, HUGE, asked, Limits(memory_gib=8))
    assert sum(parts.values()) <= 8 * 2**30
    with pytest.raises(StudyError, match="E_TOO_LARGE"):
        check_room(1, seen, HUGE, asked, Limits(memory_gib=4))
    assert "E_TOO_LARGE" in CODES


def test_what_only_the_voxels_know_is_not_foreseen(tmp_path: Path) -> None:
    assert foreseen(HUGE, pipeline(tmp_path, 2.0, "  - crop_foreground\n")) is None
