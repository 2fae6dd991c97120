"""Strings planted in headers come out nowhere: not in masks, records, pages, logs or errors."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from support.dicom import lps, pydicom, write_series
from support.image_bytes import META, NRRD, text_image
from support.studies import ball

from medseg.cli import main
from medseg.image import Label, LabelMap, Labels
from medseg.io.dicom.rtstruct_write import write_contours
from medseg.io.dicom.seg_write import write_segments
from medseg.io.dicom.source import source_of

PIPELINE = """\
name: ball
labels: {{ball: 1}}
input: {{path: scans{series}}}
preprocess: [{{orientation: {{axcodes: RAS}}}}]
inference: [{{threshold: {{minimum: 50}}}}]
output: {{path: out, formats: {formats}}}
"""
PATIENT_MODULE = {
    "PatientName": "QZPLNTNAME",
    "PatientID": "QZPLNTID",
    "AccessionNumber": "QZPLNTACCESS",
    "ReferringPhysicianName": "QZPLNTREFER",
    "StudyID": "QZPLNTSTUDYID",
}
"""What a SEG or an RTSTRUCT of a scan carries, as DICOM wants it to."""
ELSEWHERE = {
    "PatientAddress": "QZPLNTADDRESS",
    "OtherPatientIDs": "QZPLNTOTHER",
    "PatientComments": "QZPLNTCOMMENT",
    "InstitutionName": "QZPLNTCLINIC",
    "StudyDescription": "QZPLNTVISIT",
    "SeriesDescription": "QZPLNTSERIES",
    "ProtocolName": "QZPLNTPROTOCOL",
    "OperatorsName": "QZPLNTOPERATOR",
    "StationName": "QZPLNTSTATION",
    "DeviceSerialNumber": "QZPLNTSERIAL",
}
OF_NIFTI = ("descrip", "aux_file", "db_name", "intent_name")
OF_META = """Comment = QZPLNTCOMMENT
Name = QZPLNTNAME
PatientName = QZPLNTPATIENT
QZPLNTKEY = 1
ObjectType"""
OF_NRRD = """# QZPLNTREMARK
content: QZPLNTCONTENT
patient name: QZPLNTPATIENT
QZPLNTFIELD: 1
QZPLNTKEY:=1
PatientName:=QZPLNTVALUE
dimension"""
AT_ODDS = {
    "comments": ("Comment = QZPLNT1\nComment = QZPLNT2", "content: QZPLNT1\ncontent: QZPLNT2"),
    "names": (
        "PatientName = QZPLNT1\nPatientName = QZPLNT2",
        "patient name: QZPLNT1\npatient name: QZPLNT2",
    ),
    "unknown": ("QZPLNTKEY = 1\nQZPLNTKEY = 2", "QZPLNTKEY: 1\nQZPLNTKEY: 2"),
    "sizes": ("DimSize = 5 6 QZPLNT", "sizes: 5 6 QZPLNT"),
    "skips": ("ElementToIntensityFunctionSlope = QZPLNT", "byte skip: QZPLNT"),
    "origin": ("Offset = QZPLNT 1 2", "space origin: (QZPLNT,1,2)"),
}
"""What cannot be believed, in MetaImage and in NRRD."""
MARK = "QZPLNT"


@pytest.fixture(autouse=True)
def _in_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every line that any package logs, the compiler's own left out."""
    for name in ("numba", "matplotlib", "fontTools", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    caplog.set_level(logging.DEBUG)
    yield caplog
    for name in ("numba", "matplotlib", "fontTools", "PIL"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def said_by(logged: pytest.LogCaptureFixture, *words: str) -> str:
    """What a command prints and logs, and the traceback of what it raised."""
    logged.clear()
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code in (0, 1, 2), result.output
    unexpected = result.exception
    assert unexpected is None or isinstance(unexpected, SystemExit), unexpected
    return f"{result.output}\n{result.stderr}\n{logged.text}"


def scan(folder: Path, **tags: str) -> list[Path]:
    image, _ = ball(0)
    planted = {**PATIENT_MODULE, **ELSEWHERE, **tags}
    return write_series(folder, image.astype(np.int16), lps(), **planted)


def drawn(folder: Path) -> None:
    """A SEG and an RTSTRUCT of the scan, whose own words are planted as well."""
    source = source_of(folder)
    labels = Labels((Label("ball", (1,)),))
    mask = LabelMap(ball(0)[1], source.placed.grid, labels)
    drawings = folder.parent / "drawings"
    drawings.mkdir()
    write_segments(drawings / "seg.dcm", mask, source)
    write_contours(drawings / "rt.dcm", mask, source)
    found = pydicom.dcmread(drawings / "rt.dcm")
    found.StructureSetLabel = found.OperatorsName = "QZPLNTDRAWER"
    found.save_as(drawings / "rt.dcm")
    (folder.parent / "drawings" / "seg.dcm").rename(folder.parent.parent / "seg.dcm")


def found_in(folder: Path) -> list[str]:
    """Files below a folder in which a planted string stands, packed or not."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if MARK.encode() in data:
                found.append(str(path.relative_to(folder)))
    return found


def pipeline(series: str = ", series: {modality: CT}", formats: str = "[nifti]") -> str:
    Path("ball.yaml").write_text(PIPELINE.format(series=series, formats=formats))
    return "ball.yaml"


def test_strings_of_dicom_come_out_nowhere(logged: pytest.LogCaptureFixture) -> None:
    scan(Path("scans/ct"))
    drawn(Path("scans/ct"))
    name = pipeline(formats="[nifti, seg_nrrd, stl, itksnap, slicer, bids]")
    said = said_by(logged, "ls", "scans")
    said += said_by(logged, "run", name, "--report")
    assert "1 done" in said
    said += said_by(logged, "report", "out")
    compared = ("evaluate", "out/masks", "--reference", "scans", "--pipeline", name)
    said += said_by(logged, *compared, "--report", "--output", "judged")
    assert "1 compared" in said
    said += said_by(logged, "convert", "scans/ct", "made/scan.nii.gz")
    said += said_by(logged, "convert", "scans/ct", "made/scan.nrrd")
    for drawing in ("seg.dcm", "scans/drawings/rt.dcm"):
        to = f"made/{Path(drawing).stem}.nii.gz"
        said += said_by(logged, "convert", drawing, to, "--scan", "scans/ct", "--pipeline", name)
    said += said_by(logged, "convert", "scans", "sets/nn", "--to", "nnunet", "--pipeline", name)
    assert len(list(Path("made").iterdir())) == 4
    assert Path("sets/nn/dataset.json").is_file()
    assert MARK not in said
    assert [found_in(Path(one)) for one in ("out", "judged", "made", "sets")] == [[]] * 4


def test_a_seg_and_an_rtstruct_carry_the_patient_module_and_no_more(
    logged: pytest.LogCaptureFixture,
) -> None:
    scan(Path("scans/ct"))
    said = said_by(logged, "run", pipeline(formats="[dicom_seg, rtstruct]"))
    assert MARK not in said
    for form in ("dicom_seg", "rtstruct"):
        (path,) = Path("out", form).iterdir()
        data = path.read_bytes()
        assert all(planted.encode() in data for planted in PATIENT_MODULE.values())
        for planted in ELSEWHERE.values():
            assert planted.encode() not in data, (form, planted)


def spoilt(fault: str) -> None:
    """A series that is refused, or whose reading complains."""
    paths = scan(Path("scans/ct"), StudyInstanceUID="1.2.3.4")
    if fault == "gap":
        paths[5].unlink()
    elif fault == "syntax":
        found = pydicom.dcmread(paths[3])
        found.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
        found.PixelData = pydicom.encaps.encapsulate([b"QZPLNTPIXELS" * 9])
        found["PixelData"].is_undefined_length = True
        found.save_as(paths[3])
    elif fault == "cut":
        data = paths[3].read_bytes()
        paths[3].write_bytes(data[: data.index(b"QZPLNTCOMMENT") + 5])
    elif fault == "two series":
        scan(Path("scans/other"), StudyInstanceUID="1.2.3.4")
    else:
        # Numbers that are none: readers quote such values in what they say.
        data = paths[3].read_bytes()
        tag, size = {
            "position": (b"\x20\x00\x32\x00DS", 8),
            "number": (b"\x20\x00\x13\x00IS", 2),
            "slope": (b"\x28\x00\x53\x10DS", 2),
        }[fault]
        place = data.index(tag) + 8
        paths[3].write_bytes(data[:place] + b"QZPLNTED"[:size] + data[place + size :])


@pytest.mark.parametrize(
    "fault", ["gap", "syntax", "cut", "two series", "position", "number", "slope"]
)
def test_what_is_refused_is_not_quoted(fault: str, logged: pytest.LogCaptureFixture) -> None:
    spoilt(fault)
    name = pipeline(series="")
    said = said_by(logged, "ls", "scans")
    said += said_by(logged, "run", name)
    said += said_by(logged, "convert", "scans/ct", "made/scan.nii.gz")
    assert MARK[:2] not in said
    assert found_in(Path("out")) == []
    if fault != "number":
        assert "E_" in said or "W_" in said


def test_strings_of_nifti_come_out_nowhere(logged: pytest.LogCaptureFixture) -> None:
    data, mask = ball(0)
    for folder, voxels in (("scans", data), ("labels", mask)):
        image = nib.Nifti1Image(voxels, np.diag([-1.5, -1.5, 2.0, 1.0]))
        image.set_sform(image.affine, 1)
        image.header.set_xyzt_units("mm")
        for field in OF_NIFTI:
            image.header[field] = b"QZPLNTFIELD"
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"QZPLNTMORE"))
        Path(folder).mkdir()
        nib.save(image, Path(folder, "a.nii.gz"))
    cut = Path("scans/a.nii.gz").read_bytes()
    Path("scans/b.nii.gz").write_bytes(cut[: len(cut) // 2])
    name = pipeline(series="", formats="[nifti, seg_nrrd, stl, bids]")
    said = said_by(logged, "ls", "scans")
    said += said_by(logged, "run", name, "--report", "--set", "input.reference=labels")
    assert "1 done, 1 failed" in said
    compared = ("evaluate", "out/masks", "--reference", "labels", "--pipeline", name)
    said += said_by(logged, *compared, "--report", "--output", "judged")
    said += said_by(logged, "convert", "scans/a.nii.gz", "made/a.nrrd")
    said += said_by(logged, "convert", "labels/a.nii.gz", "made/a.seg.nrrd", "--mask")
    said += said_by(logged, "convert", "scans/b.nii.gz", "made/b.nii")
    assert MARK not in said
    assert len(list(Path("made").iterdir())) == 2
    assert [found_in(Path(one)) for one in ("out", "judged", "made")] == [[]] * 3


def test_strings_of_text_headers_come_out_nowhere(logged: pytest.LogCaptureFixture) -> None:
    Path("scans").mkdir()
    Path("scans/a.mha").write_bytes(text_image(META, {"ObjectType": OF_META}))
    Path("scans/b.nrrd").write_bytes(text_image(NRRD, {"dimension": OF_NRRD}))
    name = pipeline(series="", formats="[nifti, seg_nrrd, stl, bids]")
    said = said_by(logged, "ls", "scans")
    said += said_by(logged, "run", name, "--report")
    assert "2 done" in said
    said += said_by(logged, "convert", "scans/a.mha", "made/a.nrrd")
    said += said_by(logged, "convert", "scans/b.nrrd", "made/b.nii.gz")
    assert len(list(Path("made").iterdir())) == 2
    assert MARK not in said
    assert [found_in(Path(one)) for one in ("out", "made")] == [[]] * 2


@pytest.mark.parametrize("fault", AT_ODDS)
def test_text_headers_that_are_refused_are_not_quoted(
    fault: str, logged: pytest.LogCaptureFixture
) -> None:
    meta, nrrd = (f"{line}\n" for line in AT_ODDS[fault])
    Path("scans").mkdir()
    Path("scans/a.mha").write_bytes(text_image(META, {"NDims": f"{meta}NDims"}))
    Path("scans/b.nrrd").write_bytes(text_image(NRRD, {"dimension": f"{nrrd}dimension"}))
    said = said_by(logged, "ls", "scans")
    said += said_by(logged, "run", pipeline(series=""))
    for scan in ("a.mha", "b.nrrd"):
        said += said_by(logged, "convert", f"scans/{scan}", "made/scan.nii.gz")
    assert "2 failed" in said
    assert "E_HEADER_INVALID" in said
    assert MARK not in said
    assert found_in(Path("out")) == []
