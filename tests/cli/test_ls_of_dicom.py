"""``medseg ls`` on a mixed tree of DICOM: what is there, and whether it would be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.dicom import lps, write_series

from medseg.cli import main


def said(*words: str) -> list[str]:
    result = CliRunner().invoke(main, ["ls", *words])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = np.random.default_rng(0).integers(0, 90, (14, 10, 6)).astype(np.int16)
    write_series(tmp_path / "a", data, lps(), SeriesNumber=1, SeriesDescription="free text")
    write_series(tmp_path / "b", data, lps(tilt=11.0), SeriesNumber=2)
    write_series(tmp_path / "c", data, lps(), SeriesNumber=3, leave_out=[3])
    write_series(tmp_path / "d", data, lps(), SeriesNumber=4, Modality="PT")
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(tmp_path / "e", data[:, :, :1], lps(), ImageType=scout)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "more.txt").write_text("nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_series_is_told_with_its_state(tree: Path) -> None:
    lines = said(".")
    assert cells(lines[0]) == ["study", "series", "voxels", "mm", "state", "folder"]
    rows = {cells(line)[-1]: cells(line)[1:-1] for line in lines[1:5]}
    assert rows == {
        "a": ["CT series 1", "14 x 10 x 6", "0.7 x 0.9 x 3", "ready"],
        "b": ["CT series 2", "14 x 10 x 6", "0.7 x 0.9 x 3.06", "tilted 11.0 degrees"],
        "c": ["CT series 3", "14 x 10 x 5", "0.7 x 0.9", "E_DICOM_GAP"],
        "d": ["PT series 4", "14 x 10 x 6", "0.7 x 0.9 x 3", "E_DICOM_TAG"],
    }
    assert any("E_DICOM_GAP: a slice is missing between IM002.dcm" in line for line in lines)
    assert any("E_DICOM_TAG: no SUV can be had: Units" in line for line in lines)
    assert "set aside: IM000.dcm is a localizer" in lines
    assert "set aside: 2 files, such as notes.txt: each is no DICOM file" in lines
    assert lines[-1] == "4 studies found as DICOM, 0 with a reference"
    assert not any("free text" in line for line in lines)
    assert any("free text" in line for line in said(".", "--descriptions"))


def test_one_series_alone_is_told_as_well(tree: Path) -> None:
    lines = said("a")
    assert cells(lines[1])[1:] == ["CT series 1", "14 x 10 x 6", "0.7 x 0.9 x 3", "ready", "."]
