"""With hashed ids, no name of a study or a file is in anything that a run writes or says."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.runs import everything, states
from support.studies import ball_studies

from medseg.cli import main
from medseg.errors import PipelineError
from medseg.pipeline import Pipeline, load_pipeline
from medseg.pipeline.parts import Output, Privacy
from medseg.run.predict import predict

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
