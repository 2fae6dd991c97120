"""Damaged and ill-meant files end in a named error, soon, and say nothing of their contents."""

from __future__ import annotations

import contextlib
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from support.dicom import lps, pydicom, write_enhanced, write_series

from medseg.errors import StudyError
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import find_studies, read_labels, read_scan
from medseg.io.dicom import pixels
from medseg.io.dicom.index import index_of
from medseg.io.dicom.rtstruct_write import write_contours
from medseg.io.dicom.seg_write import write_segments
from medseg.io.dicom.source import source_of

DATA = np.arange(13 * 11 * 3, dtype=np.int16).reshape(13, 11, 3)


def refused_or_read(folder: Path) -> str:
    """The code that a folder is refused by; empty where it is read."""
    try:
        read_scan(Study("a", (folder,)))
    except StudyError as error:
        return error.code
    return ""


def damaged(data: bytes, seed: int, from_: int = 132) -> bytes:
    """A few bytes changed, or a piece cut out or put in, behind the preamble."""
    chance = np.random.default_rng(seed)
    out = bytearray(data)
    for _ in range(int(chance.integers(1, 6))):
        at = int(chance.integers(from_, len(out)))
        kind = chance.integers(0, 4)
        if kind == 0:
            out[at] = int(chance.integers(0, 256))
        elif kind == 1:
            del out[at : at + int(chance.integers(1, 30))]
        elif kind == 2:
            out[at:at] = chance.bytes(int(chance.integers(1, 30)))
        else:
            out[at : at + 4] = b"\xff\xff\xff\xff"
        if len(out) <= from_:
            break
    return bytes(out)


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_told_by_a_code_and_never_by_a_traceback(tmp_path: Path, seed: int) -> None:
    paths = write_series(tmp_path, DATA, lps())
    head = paths[1].read_bytes()[:-400]
    paths[1].write_bytes(damaged(head, seed) + paths[1].read_bytes()[-400:])
    begun = time.monotonic()
    code = refused_or_read(tmp_path)
    assert code == "" or code.startswith("E_")
    assert time.monotonic() - begun < 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_damage_anywhere_is_told_by_a_code(tmp_path: Path, seed: int) -> None:
    if seed % 2:
        paths = write_series(tmp_path, DATA, lps())
    else:
        paths = [write_enhanced(tmp_path / "e.dcm", DATA, lps(), [2, 0, 1])]
    paths[-1].write_bytes(damaged(paths[-1].read_bytes(), seed))
    refused_or_read(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_damaged_drawings_are_told_by_a_code(tmp_path: Path, seed: int) -> None:
    write_series(tmp_path / "ct", DATA, lps())
    source = source_of(tmp_path / "ct")
    labels = Labels((Label("liver", (1,)),))
    mask = LabelMap((DATA % 3 == 0).astype(np.uint8), source.placed.grid, labels)
    path = tmp_path / "drawn.dcm"
    write = write_segments if seed % 2 else write_contours
    write(path, mask, source)
    path.write_bytes(damaged(path.read_bytes(), seed))
    with contextlib.suppress(StudyError):
        read_labels(path, labels, mask.grid)


def test_a_header_that_asks_for_more_memory_than_it_has_pixels_is_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path, DATA, lps()):
        found = pydicom.dcmread(path)
        found.Rows = found.Columns = 60000
        found.save_as(path)
    begun = time.monotonic()
    assert refused_or_read(tmp_path) in ("E_TRUNCATED", "E_TOO_LARGE")
    assert time.monotonic() - begun < 60


def test_a_deflated_bomb_is_refused(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, DATA[:, :, :1], lps())
    found = pydicom.dcmread(path)
    found.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    found.PixelData = bytes(3 << 29)
    found["PixelData"].VR = "OW"
    found.save_as(path)
    del found
    assert path.stat().st_size < 1 << 24
    assert refused_or_read(tmp_path) == "E_NOT_AN_IMAGE"


def test_other_files_in_a_tree_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", DATA, lps())
    (tmp_path / "notes.txt").write_text("a patient's name")
    (tmp_path / "ct" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(40))
    found = find_studies(tmp_path)
    assert len(found.studies) == 1
    assert any("no DICOM file" in note for note in found.notes)
    assert "patient" not in " ".join(found.notes)


def test_names_in_other_alphabets_are_handed_on(tmp_path: Path) -> None:
    write_series(
        tmp_path / "ct", DATA, lps(), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Änne"
    )
    source = source_of(tmp_path / "ct")
    labels = Labels((Label("liver", (1,)),))
    mask = LabelMap((DATA % 3 == 0).astype(np.uint8), source.placed.grid, labels)
    for write in (write_segments, write_contours):
        write(tmp_path / "a.dcm", mask, source)
        assert str(pydicom.dcmread(tmp_path / "a.dcm").PatientName) == "Müller^Änne"


@pytest.mark.parametrize(
    ("work", "code"), [("import time; time.sleep(60)", "E_TIMEOUT"), ("pass", "E_WORKER_DIED")]
)
def test_a_process_that_hangs_or_dies_costs_its_series_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, code: str
) -> None:
    write_series(tmp_path / "ct", np.zeros((6, 5, 3), np.int16), lps())
    (tmp_path / "worker.py").write_text(work)
    monkeypatch.setattr(pixels, "_WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(pixels, "_SECONDS", 0.1)
    monkeypatch.setattr(pixels, "_SECONDS_A_FRAME", 0.0)
    monkeypatch.setattr(pixels, "_PATIENCE", 600 if code == "E_WORKER_DIED" else 1)
    with pytest.raises(StudyError, match=rf"{code}.*IM000\.dcm"):
        read_scan(Study("a", (tmp_path / "ct",)))


def jpeg(folder: Path) -> Path:
    """A series whose pixels are JPEG."""
    from PIL import Image

    packed = BytesIO()
    Image.fromarray(np.zeros((11, 13), np.uint8)).save(packed, "JPEG")
    for path in write_series(folder, DATA, lps()):
        found = pydicom.dcmread(path)
        found.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
        found.BitsAllocated = found.BitsStored = 8
        found.HighBit, found.PixelRepresentation = 7, 0
        found.PixelData = pydicom.encaps.encapsulate([packed.getvalue()])
        found["PixelData"].is_undefined_length = True
        found["PixelData"].VR = "OB"
        found.save_as(path)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, for this process and those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def changed(folder: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Pixels are unpacked by the same program, which does something before."""
    begin = 'if __name__ == "__main__":'
    own = pixels._WORKER.read_text()
    assert begin in own
    (folder / "worker.py").write_text(own.replace(begin, f"{begin}\n    {first}"))
    monkeypatch.setattr(pixels, "_WORKER", folder / "worker.py")


def test_a_process_that_is_killed_leaves_no_pixels_behind(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jpeg(tmp_path / "ct")
    assert refused_or_read(folder) == ""
    witness = tmp_path / "witness"
    kill = (
        "import os, shutil, SimpleITK; SimpleITK.ReadImage ="
        f" lambda path: shutil.copy(path, {str(witness)!r}) and os.kill(os.getpid(), 9)"
    )
    changed(tmp_path, monkeypatch, kill)
    assert refused_or_read(folder) == "E_WORKER_DIED"
    assert witness.stat().st_size > 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [("ENOSPC", "E_DISK_FULL"), ("EDQUOT", "E_DISK_FULL"), ("EROFS", "E_PERM")]
)
def test_temporary_files_that_cannot_be_written_are_no_fault_of_the_scan(
    number: str, code: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jpeg(tmp_path / "ct")
    fail = (
        "import errno, pydicom.dataset as d\n"
        f"    def fail(*_, **__): raise OSError(errno.{number}, 'planted')\n"
        "    d.Dataset.save_as = fail"
    )
    changed(tmp_path, monkeypatch, fail)
    with pytest.raises(StudyError, match=f"{code}.*temporary files") as caught:
        read_scan(Study("a", (folder,)))
    assert str(temporary) not in caught.value.message
    assert list(temporary.iterdir()) == []


def test_where_there_can_be_no_temporary_files_what_needs_none_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    write_series(tmp_path / "plain", DATA, lps())
    folder = jpeg(tmp_path / "jpeg")
    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    assert refused_or_read(tmp_path / "plain") == ""
    assert refused_or_read(folder) == "E_PERMISSION"


def test_a_slice_that_is_gone_when_its_pixels_are_wanted_is_told_as_that(tmp_path: Path) -> None:
    write_series(tmp_path, DATA, lps())
    (pile,) = index_of(tmp_path).piles
    pile.planes[1].path.unlink()
    with pytest.raises(StudyError, match=r"E_NOT_FOUND.*IM001\.dcm"):
        list(pixels.frames_of(pile.header, pile.planes))
