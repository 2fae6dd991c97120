"""With hashed ids, no name of a study or a file is in anything that a run writes or says."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.dicom import lps, write_series
from support.image_bytes import META, text_image
from support.runs import everything, states
from support.studies import BALL, ball, ball_studies, save

from medseg.cli import main
from medseg.errors import PipelineError, StudyError
from medseg.image import Study
from medseg.pipeline import Pipeline, load_pipeline
from medseg.pipeline.parts import Output, Privacy
from medseg.run.predict import predict
from medseg.run.privacy import Names

NAMES = ("Mustermann_Erika", "DOE_JOHN_19630411")


def private(folder: Path, key: bytes | None = None) -> Path:
    """Studies that are called as patients, one of them broken; the path of their pipeline."""
    path = ball_studies(folder, 3)
    for number, name in enumerate(NAMES):
        for kind in ("images", "labels"):
            old = folder / kind / f"study_0{number}.nii.gz"
            old.rename(folder / kind / f"{name}.nii.gz")
    broken = folder / "images" / f"{NAMES[1]}.nii.gz"
    broken.write_bytes(broken.read_bytes()[:3000])
    (folder / "key").write_bytes(secrets.token_bytes(32) if key is None else key)
    path.write_text(path.read_text() + "privacy: {ids: hash, key: key}\n")
    return path


def test_no_planted_name_is_in_what_is_written_or_said(tmp_path: Path) -> None:
    path, output = private(tmp_path), tmp_path / "out"
    result = CliRunner().invoke(main, ["run", str(path), "--output", str(output)])
    assert result.exit_code == 1
    assert "E_TRUNCATED" in result.output
    written = [file for file in output.rglob("*") if file.is_file()]
    assert len(written) > 8
    for name in (*NAMES, "Mustermann", "DOE", "study_02"):
        assert name not in result.output
        assert not [file for file in written if name in str(file.relative_to(output))]
        assert not [file for file in written if name.encode() in file.read_bytes()]


def hidden(folder: Path, where: str) -> Path:
    """A pipeline of the studies at ``where`` in a folder, which hashes their ids; its path."""
    (folder / "key").write_bytes(secrets.token_bytes(32))
    path = folder / "hidden.yaml"
    asked = BALL.replace("path: images, reference: labels", f"path: {where}")
    path.write_text(asked + "privacy: {ids: hash, key: key}\n")
    return path


def told(path: Path) -> str:
    """All that a run of a pipeline says and writes, the voxels aside."""
    output = path.parent / "out"
    result = CliRunner().invoke(main, ["run", str(path), "--output", str(output)])
    assert result.exit_code in (0, 1), result.output
    texts = [file for file in output.rglob("*") if file.suffix in (".json", ".jsonl", ".csv")]
    assert texts
    return "\n".join([result.output, result.stderr, *(file.read_text() for file in texts)])


@pytest.mark.parametrize(
    ("name", "names", "code"),
    [
        ("a.mhd", "DOE_JOHN.raw", "E_NOT_FOUND"),
        ("a.mhd", '../DOE\'s "JOHN".raw', "E_PATH_ESCAPE"),
        ("a.mhd", "DOE" * 99 + "_JOHN", "E_NOT_FOUND"),
        ("a.mhd", "DOE\0JOHN", "E_HEADER_INVALID"),
        ("a.nii.gz", "/archive/DOE_JOHN/scan.nii.gz", "E_NOT_FOUND"),
        ("a.nii.gz", '../other\'s/JOHN\\ "DOE" \xad.nii.gz', "E_NOT_FOUND"),
    ],
)
def test_what_a_link_or_a_header_leads_to_is_not_named(
    name: str, names: str, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "images" / name
    path.parent.mkdir()
    if name == "a.mhd":
        path.write_bytes(text_image(META, {"LOCAL": names}, b""))
    else:
        path.symlink_to(names)
    said = told(hidden(tmp_path, "images"))
    assert code in said
    assert "DOE" not in said
    assert "JOHN" not in said


def test_slices_of_a_folder_are_not_named(tmp_path: Path) -> None:
    for fault in ("gap", "damaged"):
        data = ball(0)[0].astype(np.int16)
        paths = write_series(tmp_path / fault / "Erika", data, lps(), prefix="DOE\xadJOHN ")
        paths[5].unlink() if fault == "gap" else paths[-1].write_bytes(paths[-1].read_bytes()[:200])
    (tmp_path / "studies.csv").write_text("study,image\none,gap\ntwo,damaged\n")
    said = told(hidden(tmp_path, "studies.csv"))
    assert "E_DICOM_GAP" in said
    assert "W_DICOM_ASIDE" in said
    for name in ("DOE", "JOHN", "Erika"):
        assert name not in said


def test_a_name_with_dots_is_hidden_under_another_suffix(tmp_path: Path) -> None:
    path = save(tmp_path / "images" / "DOE.JOHN.img", ball(0)[0])
    path.with_suffix(".hdr").unlink()
    (tmp_path / "studies.csv").write_text("study,image\none,images/DOE.JOHN.img\n")
    said = told(hidden(tmp_path, "studies.csv"))
    assert "E_NOT_FOUND" in said
    assert "JOHN" not in said


def test_what_the_pipeline_itself_says_is_not_hidden(tmp_path: Path) -> None:
    names = Names(b"k" * 32, tmp_path, frozenset({"liver"}))
    study = Study("a", (tmp_path / "x.nii",))
    error = names.error(study, StudyError("E_LABEL_VALUES", "'liver', not 'DOE': its scan's"))
    assert error.message == "'liver', not …: its scan's"


def test_hashed_studies_are_kept_and_have_the_same_id_by_the_same_key(tmp_path: Path) -> None:
    path = private(tmp_path)
    first = predict(load_pipeline(path).writing_to(tmp_path / "out"))
    again = predict(load_pipeline(path).writing_to(tmp_path / "out"))
    assert sorted(states(again)) == ["failed", "kept", "kept"]
    assert [o.name for o in first.outcomes] == [o.name for o in again.outcomes]
    (tmp_path / "key").write_bytes(b"another secret, of more than 16 bytes")
    other = predict(load_pipeline(path).writing_to(tmp_path / "other"))
    assert not {o.name for o in other.outcomes} & {o.name for o in first.outcomes}


def test_ids_change_no_mask(tmp_path: Path) -> None:
    path = private(tmp_path)
    pipeline = load_pipeline(path)
    predict(pipeline.writing_to(tmp_path / "hashed"))
    predict(replace(pipeline, privacy=Privacy()).writing_to(tmp_path / "named"))
    masks = [
        sorted(data for name, data in everything(tmp_path / one).items() if "nii" in name)
        for one in ("hashed", "named")
    ]
    assert masks[0] == masks[1]
    assert len(masks[0]) == 2


def test_a_key_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path, b"short")
    with pytest.raises(PipelineError, match="has 5 bytes"):
        predict(load_pipeline(path).writing_to(tmp_path / "out"))
    (tmp_path / "key").unlink()
    with pytest.raises(PipelineError, match="cannot be read"):
        predict(load_pipeline(path).writing_to(tmp_path / "out"))


def test_what_names_the_patient_by_itself_is_refused_with_hashed_ids(tmp_path: Path) -> None:
    pipeline: Pipeline = load_pipeline(private(tmp_path))
    with pytest.raises(ValueError, match="dicom_seg carry what the scan says"):
        replace(pipeline, output=Output(formats=("dicom_seg",)))
    with pytest.raises(ValueError, match="key is the file of a secret"):
        Privacy("hash")
