"""``medseg evaluate``: two folders of masks, of any tool."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from support.studies import save

from medseg.cli import main
from medseg.errors import InputError
from medseg.image import Label, Labels
from medseg.metrics import Dice, Iou
from medseg.run.comparing import evaluate_runs, named_runs
from medseg.run.evaluate import Asked, EvaluationSummary, evaluate, evaluated
from medseg.run.events import Event, Note, StudyDone
from medseg.run.readers import evaluate_readers


def boxes(folder: Path, shift: int) -> Path:
    for number in range(3):
        mask = np.zeros((10, 10, 10), np.uint8)
        mask[2:6, 2:6, 2 + shift : 6 + shift] = 1
        mask[7:9, 7:9, 7:9] = 5
        save(folder / f"case_{number}.nii.gz", mask)
    return folder


def compared(tmp_path: Path, labels: Labels | None = None) -> EvaluationSummary:
    predictions, references = boxes(tmp_path / "mine", 1), boxes(tmp_path / "theirs", 0)
    return evaluate(
        predictions, references, labels, metrics=(Dice(), Iou()), output=tmp_path / "out"
    )


def test_two_folders_of_masks_need_no_pipeline(tmp_path: Path) -> None:
    compared(tmp_path)
    with (tmp_path / "out/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = {(r["study"], r["label"], r["metric"]): float(r["value"]) for r in rows}
    assert values["case_0", "1", "dice"] == pytest.approx(0.75)
    assert values["case_0", "1", "iou"] == pytest.approx(0.6)
    assert values["case_2", "5", "dice"] == 1.0
    assert len(rows) == 3 * 2 * 2


def test_regions_may_overlap(tmp_path: Path) -> None:
    labels = Labels((Label("whole", (1, 5)), Label("part", (5,))))
    summary = compared(tmp_path, labels).summary
    assert set(summary["metrics"]) == {"whole", "part"}


def test_a_mask_on_another_grid_fails_by_name_and_the_others_are_done(tmp_path: Path) -> None:
    boxes(tmp_path / "mine", 1)
    references = boxes(tmp_path / "theirs", 0)
    save(tmp_path / "mine/case_1.nii.gz", np.ones((4, 4, 4), np.uint8))
    summary = evaluate(
        tmp_path / "mine", references, None, metrics=(Dice(),), output=tmp_path / "out"
    )
    assert {name: e.code for name, e in summary.failures.items()} == {"case_1": "E_LABEL_GEOMETRY"}
    assert json.loads((tmp_path / "out/summary.json").read_text())["done"] == 2


def test_names_that_do_not_match_are_said(tmp_path: Path) -> None:
    predictions = boxes(tmp_path / "mine", 0)
    save(tmp_path / "theirs/other.nii.gz", np.zeros((10, 10, 10), np.uint8))
    with pytest.raises(InputError, match="E_NO_INPUT"):
        evaluate(predictions, tmp_path / "theirs", None, metrics=(Dice(),), output=tmp_path / "out")


def test_empty_masks_alone_name_no_labels(tmp_path: Path) -> None:
    predictions = boxes(tmp_path / "mine", 0)
    for number in range(3):
        save(tmp_path / f"theirs/case_{number}.nii.gz", np.zeros((10, 10, 10), np.uint8))
    empty = tmp_path / "theirs"
    with pytest.raises(InputError, match="empty"):
        evaluate(empty, empty, None, metrics=(Dice(),), output=tmp_path / "out")
    summary = evaluated(predictions, empty, ASKED, tmp_path / "out").summary
    assert summary["metrics"]["1"]["dice"]["mean"] == 0.0


def lumps(folder: Path, seed: int, count: int = 6) -> Path:
    """Two labels a study, their borders drawn somewhat differently by each seed."""
    chance = np.random.default_rng(seed)
    for number in range(count):
        mask = np.zeros((12, 12, 12), np.uint8)
        first = 2 + chance.integers(0, 2, 3)
        mask[first[0] : 8, first[1] : 8, first[2] : 8] = 1
        mask[8:11, 8 + number % 2 : 11, 8:11] = 2
        save(folder / f"case_{number}.nii.gz", mask)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


ASKED = Asked((Dice(), Iou()))


def test_a_folder_as_nnunet_leaves_it_is_a_folder_of_masks(tmp_path: Path) -> None:
    """Its dataset.json lists no files, and names may end in four digits."""
    for folder in ("mine", "theirs"):
        for number in range(3):
            mask = np.zeros((6, 6, 6), np.uint8)
            mask[1:4, 1:4, 1 : 4 + (folder == "mine")] = 1
            save(tmp_path / folder / f"liver_{number:04d}.nii.gz", mask)
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        (tmp_path / "mine" / name).write_text('{"labels": {"background": 0, "liver": 1}}')
    summary = evaluated(tmp_path / "mine", tmp_path / "theirs", ASKED, tmp_path / "out")
    assert summary.summary["done"] == 3
    assert summary.summary["metrics"]["1"]["dice"]["mean"] == pytest.approx(2 * 3 / 7)


def test_masks_without_a_partner_are_said_on_both_sides(tmp_path: Path) -> None:
    predictions, references = boxes(tmp_path / "mine", 0), boxes(tmp_path / "theirs", 0)
    (predictions / "case_1.nii.gz").rename(predictions / "case_01.nii.gz")
    heard: list[Event] = []
    evaluated(predictions, references, ASKED, tmp_path / "out", heard.append)
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert notes == [
        "1 study has no reference: case_01; did you mean case_1.nii.gz for case_01?",
        "1 reference has no prediction: case_1",
    ]


def test_an_output_folder_stands_for_its_masks(tmp_path: Path) -> None:
    boxes(tmp_path / "run/masks", 0)
    summary = evaluated(tmp_path / "run", boxes(tmp_path / "b", 0), ASKED, tmp_path / "out")
    assert summary.summary["metrics"]["1"]["dice"]["mean"] == 1.0


def test_a_mask_in_another_order_of_axes_is_turned_and_said(tmp_path: Path) -> None:
    references = boxes(tmp_path / "theirs", 0)
    (tmp_path / "mine").mkdir()
    for path in references.iterdir():
        image = nib.load(path)
        other = nib.orientations.axcodes2ornt("SAR")
        mine = nib.orientations.io_orientation(image.affine)
        turned = image.as_reoriented(nib.orientations.ornt_transform(mine, other))
        nib.save(turned, tmp_path / "mine" / path.name)
    summary = evaluated(tmp_path / "mine", references, ASKED, tmp_path / "out")
    assert summary.summary["metrics"]["1"]["dice"]["mean"] == 1.0
    record = json.loads((tmp_path / "out/studies/case_0.json").read_text())
    assert [one["code"] for one in record["warnings"]] == ["W_LABEL_REORIENTED"]


def test_studies_at_once_change_nothing(tmp_path: Path) -> None:
    one, other = lumps(tmp_path / "a", 1), lumps(tmp_path / "b", 2)
    save(one / "case_3.nii.gz", np.ones((4, 4, 4), np.uint8))
    tables = []
    for jobs in (1, 3):
        heard: list[Event] = []
        asked = Asked(ASKED.metrics, jobs=jobs)
        output = tmp_path / f"out{jobs}"
        summary = evaluated(one, other, asked, output, heard.append)
        assert list(summary.failures) == ["case_3"]
        ended = [event.name for event in heard if isinstance(event, StudyDone)]
        assert ended == [f"case_{number}" for number in range(6)]
        tables.append([(output / n).read_bytes() for n in ("metrics.csv", "statistics.json")])
    assert tables[0] == tables[1]


def test_a_value_that_only_a_prediction_has_is_a_label_without_a_reference(tmp_path: Path) -> None:
    predictions, references = boxes(tmp_path / "a", 0), boxes(tmp_path / "b", 0)
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[0, 0, 0] = 7
    save(predictions / "case_0.nii.gz", mask)
    summary = evaluated(predictions, references, ASKED, tmp_path / "out").summary
    assert summary["failed"] == {}
    assert summary["metrics"]["7"]["dice"] == {
        "mean": 0.0,
        "median": 0.0,
        "sd": None,
        "n": 1,
        "undefined": {"both_empty": 2},
    }


def test_patients_and_subgroups_come_from_a_table(tmp_path: Path) -> None:
    lines = [f"case_{n},{'ab'[n // 3]},{'fm'[n % 2]}" for n in range(6)]
    table = tmp_path / "studies.csv"
    table.write_text("study,patient,sex\n" + "\n".join(lines) + "\n")
    asked = Asked(ASKED.metrics, table=table, by=("sex",))
    one, other = lumps(tmp_path / "a", 1), lumps(tmp_path / "b", 2)
    evaluated(one, other, asked, tmp_path / "out")
    said = json.loads((tmp_path / "out/statistics.json").read_text())
    whole = said["metrics"]["1"]["dice"]
    assert (whole["n"], whole["patients"]) == (6, 2)
    assert whole["low"] <= whole["mean"] <= whole["high"]
    parts = said["by"]["sex"]
    assert [parts[sex]["1"]["dice"]["n"] for sex in "fm"] == [3, 3]
    means = [parts[sex]["1"]["dice"]["mean"] for sex in "fm"]
    assert np.mean(means) == pytest.approx(whole["mean"])
    assert said["volumes_ml"]["2"]["icc"]["value"] == pytest.approx(1.0)
    assert said["volumes_ml"]["1"]["bland_altman"]["n"] == 6
    rows = rows_of(tmp_path / "out/statistics.csv")
    assert {(row["column"], row["value"]) for row in rows} == {("", ""), ("sex", "f"), ("sex", "m")}


def test_runs_are_compared_study_by_study(tmp_path: Path) -> None:
    reference = lumps(tmp_path / "ref", 0)
    runs = {"same": reference, "other": lumps(tmp_path / "b", 2)}
    summary = evaluate_runs(runs, reference, ASKED, tmp_path / "out")
    found = {(one["metric"], one["label"]): one for one in summary.differences}
    assert set(found) == {(m, label) for m in ("dice", "iou") for label in ("1", "2")}
    first = found["dice", "1"]
    means = [run.summary["metrics"]["1"]["dice"]["mean"] for run in summary.runs.values()]
    assert first["mean"] == pytest.approx(means[0] - means[1])
    assert 0 < first["low"] <= first["mean"] <= first["high"]
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert found["dice", "2"]["p_holm"] == 1.0
    assert len(rows_of(tmp_path / "out/comparison.csv")) == 4
    assert (tmp_path / "out/other/metrics.csv").is_file()


def test_runs_have_names_of_their_own(tmp_path: Path) -> None:
    same = named_runs([str(tmp_path / "a/masks"), str(tmp_path / "b/masks"), "ours=c"])
    assert list(same) == ["a-masks", "b-masks", "ours"]
    with pytest.raises(InputError, match="two runs are called 'x'"):
        named_runs(["x=a", "x=b"])


def test_a_model_is_placed_among_readers(tmp_path: Path) -> None:
    readers = {f"reader_{n}": lumps(tmp_path / f"r{n}", n) for n in range(3)}
    wrong = tmp_path / "wrong"
    for number in range(6):
        mask = np.zeros((12, 12, 12), np.uint8)
        mask[5:11, 5:11, :3], mask[8:11, 9:11, 8:11] = 1, 2
        save(wrong / f"case_{number}.nii.gz", mask)
    said = {}
    for name, folder in (("good", readers["reader_1"]), ("wrong", wrong)):
        summary = evaluate_readers(folder, readers, ASKED, tmp_path / name)
        assert not summary.failures
        said[name] = summary.agreement
    good, bad = (said[name]["among_readers"]["1"]["dice"] for name in ("good", "wrong"))
    assert good["within"] in ("yes", "not told apart")
    assert good["index"] > 1
    assert (bad["within"], bad["n"]) == ("no", 6)
    pairs = {(one["one"], one["other"]) for one in said["good"]["pairs"]}
    assert len(pairs) == 3 + 3 + 2
    assert ("model", "consensus_staple") in pairs
    assert 0 < said["good"]["fleiss_kappa"]["1"]["mean"] < 1
    rows = rows_of(tmp_path / "good/agreement.csv")
    assert len(rows) == 6 * 8 * 2 * 2


def test_the_command_counts_empty_labels_flags_and_writes_masks_of_instances(
    tmp_path: Path,
) -> None:
    lumps(tmp_path / "a", 1, 2)
    empty = np.zeros((12, 12, 12), np.uint8)
    for folder in ("a", "b"):
        save(tmp_path / folder / "case_1.nii.gz", empty)
    save(tmp_path / "b/case_0.nii.gz", np.asarray(nib.load(tmp_path / "a/case_0.nii.gz").dataobj))
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text(
        "name: p\nlabels: {one: 1, two: 2}\n"
        "inference: [{sliding_window: {model: unet, window: [8, 8, 8]}}]\n"
        "quality: {volumes_ml: {one: [500, 600]}}\nmetrics: [dice]\n"
    )
    words = ["evaluate", str(tmp_path / "a"), "--reference", str(tmp_path / "b")]
    words += ["--pipeline", str(pipeline), "--output", str(tmp_path / "out"), "--jobs", "1"]
    words += ["--both-empty", "one", "--flags", "--instance-masks"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out/metrics.csv")
    assert [row["value"] for row in rows if row["study"] == "case_1"] == ["1.0", "1.0"]
    record = json.loads((tmp_path / "out/studies/case_0.json").read_text())
    assert "W_VOLUME" in [one["code"] for one in record["warnings"]]
    numbers = np.asarray(nib.load(tmp_path / "out/instances/case_0.nii.gz").dataobj)
    assert np.unique(numbers).tolist() == [0, 1, 2]


def test_studies_that_not_every_reader_has_are_left_out(tmp_path: Path) -> None:
    readers = {name: lumps(tmp_path / name, seed) for seed, name in enumerate("ab")}
    (tmp_path / "b/case_4.nii.gz").unlink()
    heard: list[Event] = []
    summary = evaluate_readers(tmp_path / "a", readers, ASKED, tmp_path / "out", heard.append)
    assert summary.agreement["studies"] == 5
    assert any("left out" in event.text for event in heard if isinstance(event, Note))
    with pytest.raises(InputError, match="at least two"):
        evaluate_readers(tmp_path / "a", {"a": tmp_path / "a"}, ASKED, tmp_path / "out")
