"""The command line as a user meets it: words in, one call, words and an exit code out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.studies import ball_studies

from medseg import __version__
from medseg.cli import main

MISTAKEN = """\
name: liver
labels: {liver: 1, tumour: 2}
input: {nonfinit: fill}
preprocess:
  - orientation: {axcodes: RAX}
  - spacing: {pixdimm: [1, 1, 1]}
  - normalise_intensity
  - keep_largest
inference:
  - sliding_window:
      model: {name: dynunett}
      window: [96, 96, big]
      blending: gausian
  - sliding_window:
      model: {name: dynunet}
      window: [96, 96, 96]
      overlap: 1.5
postprocess:
  - keep_largest: {labels: [tumor]}
metrics: [dicee]
deterministic: no
"""
NETWORK = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
inference:
  - sliding_window: {model: {name: dynunet, widths: [4, 8, 8]}, window: [16, 16, 16]}
training: {patch: [16, 16, 16], max_epochs: 1, batches: 2, validate: 1, precision: float32}
"""


def medseg(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def balls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three studies and their pipeline, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return ball_studies(tmp_path, 3)


def volume_ml(*numbers: int) -> str:
    """Mean volume of the balls in these studies, counted here."""
    masks = [np.asarray(nib.load(f"labels/study_{n:02d}.nii.gz").dataobj) for n in numbers]
    return f"{np.mean([mask.sum() for mask in masks]) * 4.5 / 1000:.3f}"


def imported(*words: str) -> tuple[str, set[str]]:
    """What a fresh process prints for a command, and the modules it imported."""
    program = (
        "import sys\n"
        "from medseg.cli import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print('MODULES', *sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    printed, _, modules = done.stdout.partition("MODULES ")
    return printed, set(modules.split())


def test_help_waits_for_no_numbers() -> None:
    printed, modules = imported("--help")
    assert "run" in printed
    heavy = {"numpy", "torch", "monai", "scipy", "pydantic", "ruamel", "rich", "nibabel"}
    assert "click" in modules
    assert not modules & heavy


HEAVY = {"torch", "monai", "scipy", "skimage", "nibabel", "SimpleITK", "cc3d", "isal", "rich"}


@pytest.mark.parametrize("command", ["check", "ls", "steps", "schema"])
def test_commands_that_only_look_wait_for_no_network(command: str, balls: Path) -> None:
    words = {"check": ["check", str(balls)], "ls": ["ls", "images"]}.get(command, [command])
    printed, modules = imported(*words)
    assert printed
    assert not modules & HEAVY


def test_a_run_waits_for_no_compiler(balls: Path) -> None:
    """torch's own takes longer to load than all the rest."""
    printed, modules = imported("run", str(balls), "--output", "out")
    assert "3 done" in printed
    assert "torch" in modules
    assert "torch._dynamo" not in modules


def test_a_network_is_checked_without_being_built(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(NETWORK)
    printed, modules = imported("check", str(tmp_path / "p.yaml"))
    assert "ready to train; not yet to run" in printed
    assert not modules & HEAVY


def test_twelve_mistakes_are_twelve_complaints_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "liver.yaml"
    path.write_text(MISTAKEN)
    for words in (["check", path], ["run", path, "--output", tmp_path / "out"]):
        result = medseg(*words)
        assert result.exit_code == 2
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert lines[-1] == "E_CONFIG: 12 mistakes; nothing was done"
        complaints = list(zip(lines[:-1:3], lines[1:-1:3], lines[2:-1:3], strict=True))
        assert len(complaints) == 12
        source = MISTAKEN.splitlines()
        for head, shown, caret in complaints:
            line, column = map(int, head.removeprefix(f"{path}:").split(":")[:2])
            assert head.startswith(f"{path}:{line}:{column}: ")
            assert shown == f"    {source[line - 1]}"
            assert caret == " " * (4 + column - 1) + "^"
        assert sum("did you mean" in head for head, _, _ in complaints) == 7
    assert not (tmp_path / "out").exists()


def test_a_run_ends_with_a_table_and_zero(balls: Path) -> None:
    result = medseg("run", balls)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "label  mean ml    dice     iou  n",
        f"ball     {volume_ml(0, 1, 2)}  1.0000  1.0000  3",
        "3 done: out/ball",
    ]
    told = result.stderr.splitlines()
    assert told[0] == "3 studies found as plain folder"
    ended = [json.loads(line) for line in told[1:]]
    assert [(one["study"], one["state"]) for one in ended] == [
        (f"study_0{n}", "done") for n in range(3)
    ]
    assert [one["left"] for one in ended] == [2, 1, 0]
    assert (balls.parent / "out/ball/masks/study_00.nii.gz").exists()
    again = medseg("run", balls)
    assert again.stdout.splitlines()[-1] == "3 kept: out/ball"
    anew = medseg("run", balls, "--overwrite")
    assert anew.stdout.splitlines()[-1] == "3 done: out/ball"


def test_a_study_that_fails_is_named_with_its_code_and_the_run_ends_with_one(balls: Path) -> None:
    broken = balls.parent / "images/study_01.nii.gz"
    broken.write_bytes(broken.read_bytes()[:1000])
    result = medseg("run", balls)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[-1] == "2 done, 1 failed: out/ball"
    assert lines[-2].startswith("study_01: E_TRUNCATED images/study_01.nii.gz: ")
    told = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    failed = {one["study"]: one["message"] for one in told if one["state"] == "failed"}
    assert list(failed) == ["study_01"]
    assert failed["study_01"].startswith("E_TRUNCATED")
    assert "Traceback" not in result.output


def test_a_dry_run_says_what_would_be_done_and_does_nothing(balls: Path) -> None:
    before = sorted(balls.parent.rglob("*"))
    result = medseg("run", balls, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2:] == [
        "3 studies found as plain folder, 3 with a reference",
        "3 to do, 0 kept: out/ball",
    ]
    assert sorted(balls.parent.rglob("*")) == before
    medseg("run", balls)
    assert "0 to do, 3 kept" in medseg("run", balls, "--dry-run").stdout
    assert "3 to do, 0 kept" in medseg("run", balls, "--dry-run", "--overwrite").stdout


def test_the_command_line_is_stronger_than_the_file(balls: Path) -> None:
    result = medseg("run", balls, "--input", "images/study_02.nii.gz", "--output", "mine")
    assert result.stdout.splitlines() == [
        "label  mean ml",
        f"ball     {volume_ml(2)}",
        "1 done: mine",
    ]
    result = medseg(
        *("run", balls, "--input", "images/study_02.nii.gz", "--reference", "labels"),
        *("--output", "more", "--set", "inference.0.minimum=1e9", "--set", "postprocess=[]"),
    )
    assert "ball     0.000  0.0000  0.0000  1" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "none.yaml"], "E_NOT_FOUND none.yaml: there is no such file"),
        (
            ["run", "ball.yaml", "--input", "nowhere"],
            "E_NO_INPUT nowhere: there is nothing of that",
        ),
        (["run", "ball.yaml", "--reference", "nowhere"], "E_NO_INPUT nowhere: there is no such"),
        (
            ["run", "ball.yaml", "--set", "inference.0.x=1"],
            "--set:1:13: inference.0.x: no such opt",
        ),
        (
            ["run", "ball.yaml", "--site", "ball.yaml"],
            "ball.yaml:1:1: name: no such option of 'site'",
        ),
        (["run", "ball.yaml", "--device", "gpu"], "Error: Invalid value for '--device': device is"),
        (
            ["run", "ball.yaml", "--output", "ball.yaml"],
            "E_PERMISSION ball.yaml: cannot be written",
        ),
        (["run", "images"], "E_NOT_FOUND images: is a folder without pipeline.yaml"),
        (["run"], "Error: Missing argument 'PIPELINE'"),
        (["runn", "ball.yaml"], "Error: No such command 'runn'"),
        (["train", "ball.yaml", "--output", "m"], "E_CONFIG: training wants a 'training:' section"),
        (["steps", "spacin"], "no step or room is called 'spacin'; did you mean 'spacing'?"),
        (["models", "dynunett"], "no network is called 'dynunett'; did you mean 'dynunet'?"),
        (["ls", "nowhere"], "E_NO_INPUT nowhere"),
        (
            ["evaluate", "--predictions", "labels", "--references", "nowhere", "--output", "e"],
            "E_NO_INPUT nowhere",
        ),
        (
            [
                *("evaluate", "--predictions", "labels", "--references", "labels", "--output", "e"),
                *("--labels", "l.yaml", "--pipeline", "ball.yaml"),
            ],
            "Error: --pipeline and --labels both name the labels; give one",
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_what_cannot_start_ends_with_two_and_a_sentence(
    balls: Path, words: list[str], said: str
) -> None:
    result = medseg(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_an_interrupted_run_ends_with_130(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("medseg.run.predict.predict", interrupted)
    result = medseg("run", balls)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_a_terminated_run_ends_with_143(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*args: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("medseg.run.predict.predict", terminated)
    assert medseg("run", balls).exit_code == 143


def test_a_fault_of_the_program_is_not_hidden(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*args: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("medseg.run.predict.predict", faulty)
    assert isinstance(medseg("run", balls).exception, ZeroDivisionError)


def test_masks_are_evaluated_with_or_without_a_table_of_labels(balls: Path) -> None:
    words = ["evaluate", "--predictions", "labels", "--references", "labels", "--output", "e"]
    assert medseg(*words, "--metrics", "dice,iou").stdout.splitlines() == [
        "label  mean ml    dice     iou  n",
        f"    1    {volume_ml(0, 1, 2)}  1.0000  1.0000  3",
        "3 compared: e",
    ]
    assert "ball" in medseg(*words, "--pipeline", balls).stdout
    (balls.parent / "l.yaml").write_text("labels: {sphere: 1}")
    assert "sphere" in medseg(*words, "--labels", "l.yaml").stdout
    assert json.loads((balls.parent / "e/summary.json").read_text())["done"] == 3


def test_runs_and_readers_are_told_apart_on_the_command_line(balls: Path) -> None:
    shutil.copytree(balls.parent / "labels", balls.parent / "again")
    dice = ("--metrics", "dice", "--output", "e")
    runs = medseg("evaluate", "labels", "ours=again", "--reference", "labels", *dice)
    assert runs.exit_code == 0
    assert runs.stdout.splitlines()[-1] == "2 runs compared: e"
    assert (balls.parent / "e/ours/metrics.csv").is_file()
    for words in (["--references", "a=labels", "b=again"], ["--reference", "labels"] * 2):
        readers = medseg("evaluate", "labels", *words, *dice)
        assert readers.exit_code == 0
    two = medseg("evaluate", "labels", "--references", "a=labels", "b=again", *dice)
    assert two.stdout.splitlines()[-1] == "3 studies, 2 readers: e"
    assert "within the readers" in two.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reference", "labels"], "no masks to compare"),
        (["labels"], "nothing to compare with"),
        (["labels", "--reference", "labels", "--metrics", "dicee"], "there is no 'dicee'"),
        (["labels", "--reference", "labels", "--by", "sex"], "no study has a column 'sex'"),
        (["labels", "a=labels", "--references", "a=labels", "b=labels"], "one folder of masks"),
        (["a=labels", "a=images", "--reference", "labels"], "two runs are called 'a'"),
    ],
)
def test_what_cannot_be_evaluated_is_said(balls: Path, words: list[str], said: str) -> None:
    result = medseg("evaluate", *words, "--output", "e")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_mask_that_cannot_be_compared_is_named_and_the_others_are_done(balls: Path) -> None:
    (balls.parent / "labels2").mkdir()
    for number in range(3):
        name = f"study_{number:02d}.nii.gz"
        data = (balls.parent / "labels" / name).read_bytes()
        (balls.parent / "labels2" / name).write_bytes(data if number else data[:300])
    result = medseg(
        *("evaluate", "--predictions", "labels2", "--references", "labels", "--output", "e")
    )
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[-2].startswith("study_00: E_TRUNCATED")
    assert lines[-1] == "2 compared, 1 failed: e"


def test_a_trained_folder_is_a_pipeline(balls: Path) -> None:
    (balls.parent / "net.yaml").write_text(NETWORK)
    folds = balls.parent / "folds.json"
    folds.write_text('{"x": ["study_00"], "y": ["study_01", "study_02"]}')
    result = medseg("train", "net.yaml", "--output", "model", "--folds", folds, "--fold", "x")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["label", "dice"]
    assert lines[-2].startswith("2 studies, ")
    assert lines[-1] == "medseg run model --input SCANS"
    assert "epoch 1" in result.stderr
    assert "ready to run" in medseg("check", "model").stdout
    result = medseg("run", "model", "--input", "model/held_out.csv")
    assert result.stdout.splitlines()[-1] == "1 done: out/ball"
    result = medseg("train", "net.yaml", "--output", "other", "--fold", "9")
    assert result.exit_code == 2
    assert "there is no fold '9'" in result.stderr


def test_check_says_what_a_pipeline_is_ready_for(balls: Path) -> None:
    assert medseg("check", balls).stdout == "ball.yaml: ball (ball), ready to run\n"
    text = NETWORK.partition("training:")[0]
    (balls.parent / "net.yaml").write_text(text)
    result = medseg("check", "net.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("E_CHECKPOINT: 'ball' names no weights")


def test_ls_shows_studies_and_how_they_were_found(balls: Path) -> None:
    result = medseg("ls", "images", "--reference", "labels")
    assert result.stdout.splitlines() == [
        "study     image                   reference",
        *(f"study_0{n}  images/study_0{n}.nii.gz  labels/study_0{n}.nii.gz" for n in range(3)),
        "3 studies found as plain folder, 3 with a reference",
    ]
    for name in ("a_T1", "a_T2"):
        (balls.parent / f"{name}.nii").touch()
    result = medseg("ls", "{study}_{channel}.nii", "--channels", "T2, T1")
    assert result.stdout.splitlines()[:2] == [
        "study  image 1   image 2",
        "a      a_T2.nii  a_T1.nii",
    ]
    assert "1 study found as pattern" in result.stdout


def test_steps_lists_rooms_and_explains_steps() -> None:
    everything = medseg("steps").stdout
    for room in ("preprocess", "inference", "postprocess", "metrics", "augmentation"):
        assert f"{room}:\n" in everything
        assert medseg("steps", room).stdout in everything
    explained = medseg("steps", "sliding_window").stdout
    assert explained.startswith("sliding_window (inference)\n")
    assert "  window     needed" in explained
    assert "a network" in explained
    assert "``" not in explained


def test_models_lists_networks_with_their_papers() -> None:
    listed = medseg("models").stdout
    assert "dynunet: 2D 5.68 M, 3D 16.54 M" in listed
    assert "doi:" in listed
    explained = medseg("models", "dynunet").stdout
    assert "widths" in explained
    assert "doi:" in explained


def test_schema_is_json() -> None:
    assert json.loads(medseg("schema").stdout)["title"] == "medseg pipeline"


def test_doctor_says_what_is_here() -> None:
    result = medseg("doctor")
    assert result.exit_code == 0
    words = result.stdout.split()
    assert {"torch", "monai", "processor", "memory", "GiB,"} <= set(words)


def test_help_names_commands_in_the_order_of_their_importance() -> None:
    text = medseg("--help").stdout
    verbs = ("run", "train", "evaluate", "check", "ls", "steps", "models", "schema", "doctor")
    places = [text.index(f"\n  {verb} ") for verb in verbs]
    assert places == sorted(places)


def test_version_is_the_packages() -> None:
    assert medseg("--version").stdout == f"medseg, version {__version__}\n"


def test_the_module_is_the_command() -> None:
    words = [sys.executable, "-m", "medseg", "check", "nowhere.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("E_NOT_FOUND nowhere.yaml")


def test_a_run_with_a_network_of_ours_waits_for_no_monai(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[2]
    scan = min((repository / "sample_data/mr/images").iterdir(), key=lambda p: p.stat().st_size)
    words = ["run", str(repository / "pipelines/quickstart.yaml"), "--input", str(scan)]
    _, modules = imported(*words, "--output", str(tmp_path / "out"), "--device", "cpu")
    assert (tmp_path / "out/masks").is_dir()
    assert "torch" in modules
    assert not modules & {"monai", "skimage"}
