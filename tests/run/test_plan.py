"""A plan says what the data say, trains unedited, and each of its choices has a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.studies import ball, ball_studies, save
from torch.utils.flop_counter import FlopCounterMode

from medseg.cli import main
from medseg.errors import InputError
from medseg.image import Label, Labels
from medseg.inference import Slices, SlidingWindow
from medseg.models.dynunet import DynUNet
from medseg.pipeline import load_pipeline
from medseg.run.audit import Where
from medseg.run.examination import Seen
from medseg.run.fingerprint import fingerprint
from medseg.run.plan import PlanSummary, plan
from medseg.run.planning import planned
from medseg.run.sizing import Budget, Sizer
from medseg.run.train import train
from medseg.run.wishes import Wish
from medseg.training.spatial import RandFlip

RICH = Budget(1000, 20, 100)


def seen(number: int, **more: Any) -> Seen:
    chance = np.random.default_rng(number)
    said: dict[str, Any] = {
        "name": f"study_{number}", "digest": str(number), "shape": (36, 50, 35),
        "spacing_mm": (1.0, 1.0, 1.0), "lowest": 0.0, "zeros": 0.0,
        "samples": chance.normal(100, 20, (1, 500)).astype(np.float32),
        "voxels": {1: 1500, 2: 1500}, "pieces": {"anterior": 1, "posterior": 1},
        "extent_mm": (20.0, 30.0, 20.0),
    }  # fmt: skip
    return Seen(**said | more)


HIPPOCAMPUS = Labels((Label("anterior", (1,)), Label("posterior", (2,))))


def section(studies: list[Seen], labels: Labels = HIPPOCAMPUS, **wish: Any) -> Mapping[str, Any]:
    """The values of a plan, without their reasons."""
    names = ("MRI",) if studies[0].samples.shape[0] == 1 else ("PET", "CT")
    found = planned(fingerprint(studies, labels, names), labels, Wish(RICH, **wish))
    return {key: bare(one.value) for key, one in found.sections.items()}


def bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: bare(getattr(one, "value", one)) for key, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return {key: bare(one.value) for key, one in value}
    return value


def test_the_hippocampus_is_planned_as_nnunet_does_where_the_budget_is_large() -> None:
    found = section([seen(n) for n in range(260)])
    step = found["inference"]["sliding_window"]
    assert step["window"] == [40, 56, 40]
    assert step["model"]["widths"] == [32, 64, 128, 256]
    assert "strides" not in step["model"]
    assert found["training"]["batch"] == 9
    assert found["preprocess"]["spacing"] == {"pixdim": [1, 1, 1]}
    assert found["preprocess"]["normalize_intensity"] is None


def test_thick_slices_are_not_halved_and_not_turned_out_of_their_plane() -> None:
    flat = [seen(n, shape=(200, 200, 20), spacing_mm=(0.6, 0.6, 6.0)) for n in range(20)]
    found = section(flat)
    model = found["inference"]["sliding_window"]["model"]
    assert model["strides"][0] == [2, 2, 1]
    assert model["kernels"][0] == [3, 3, 1]
    assert found["training"]["augmentation"]["rand_affine"]["rotate_degrees"] == [0, 0, 15]


def test_a_handful_of_slices_is_seen_in_2d() -> None:
    flat = [seen(n, shape=(128, 128, 5), spacing_mm=(1.0, 1.0, 8.0)) for n in range(20)]
    found = section(flat)
    assert found["inference"]["slices"]["axes"] == [2]
    assert found["inference"]["slices"]["model"]["spatial_dims"] == 2
    assert len(found["training"]["patch"]) == 2


def test_hu_are_cut_and_scaled_by_the_numbers_of_the_data_set() -> None:
    found = section([seen(n, lowest=-1024.0) for n in range(5)], modality="CT")["preprocess"]
    assert 30 < found["clip"]["minimum"] < 60 < 140 < found["clip"]["maximum"] < 170
    assert found["normalize_intensity"]["subtrahend"] == pytest.approx(100, abs=3)
    assert found["normalize_intensity"]["divisor"] == pytest.approx(20, abs=2)


def test_each_channel_is_treated_by_its_name() -> None:
    two = [seen(n, samples=np.ones((2, 9), np.float32) * [[3], [40]] + np.arange(9)
                .astype(np.float32)) for n in range(3)]  # fmt: skip
    found = fingerprint(two, HIPPOCAMPUS, ("PET", "CT"))
    steps = planned(found, HIPPOCAMPUS, Wish(RICH)).sections["preprocess"].value
    told = [(name, one.value) for name, one in steps if name in ("clip", "normalize_intensity")]
    assert [name for name, _ in told] == ["clip", "normalize_intensity"] * 2
    assert told[0][1]["minimum"] == 0
    assert told[1][1] == {"channels": [0]}
    assert told[3][1]["channels"] == [1]
    assert told[3][1]["subtrahend"] == pytest.approx(44)


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (("kidney_left", "kidney_right"), None),
        (("lung l", "lung r"), None),
        (("label_1", "label_2"), None),
        (("liver", "spleen"), [0]),
        (("anterior", "posterior"), [0]),
        (("tumour",), [0, 1, 2]),
        (("label_1",), [0, 1, 2]),
    ],
)
def test_mirror_images_are_made_only_where_no_label_changes_its_name(
    names: tuple[str, ...], axes: list[int] | None
) -> None:
    labels = Labels(tuple(Label(name, (n,)) for n, name in enumerate(names, 1)))
    found = section([seen(n, pieces=dict.fromkeys(names, 1)) for n in range(3)], labels)
    flip = found["training"]["augmentation"].get("rand_flip")
    assert (flip and flip["axes"]) == axes
    assert found["inference"]["sliding_window"].get("mirror") == axes


def test_pieces_are_taken_away_only_where_references_have_one() -> None:
    studies = [seen(n, pieces={"anterior": 1, "posterior": 1 + n % 2}) for n in range(20)]
    assert section(studies)["postprocess"] == {"keep_largest": {"labels": ["anterior"]}}
    several = [seen(n, pieces={"anterior": 3, "posterior": 2}) for n in range(20)]
    assert section(several)["postprocess"] == []


def test_large_scans_get_a_first_stage_and_then_a_crop(tmp_path: Path) -> None:
    large = [seen(n, shape=(512, 512, 400), extent_mm=(90.0, 80.0, 70.0)) for n in range(3)]
    mark = fingerprint(large, HIPPOCAMPUS, ("MRI",))
    whole = planned(mark, HIPPOCAMPUS, Wish(RICH))
    assert "--stage low" in whole.notes[0]
    low = planned(mark, HIPPOCAMPUS, Wish(RICH, stage="low"))
    spacing = dict(low.sections["preprocess"].value)["spacing"].value["pixdim"]
    assert prod(512 / side if axis < 2 else 400 / side for axis, side in enumerate(spacing)) < (
        1.1 * 128**3
    )
    assert not low.notes
    crop = planned(mark, HIPPOCAMPUS, Wish(RICH, within=tmp_path))
    assert max(crop.sized.window) <= 160
    assert not crop.notes


@pytest.mark.parametrize("minutes", [1, 20, 1000])
@pytest.mark.parametrize("memory", [1.5, 8])
@pytest.mark.parametrize("shape", [(40, 50, 36), (180, 220, 120), (256, 200)])
def test_a_larger_budget_never_buys_less_and_windows_fit_their_network(
    shape: tuple[int, ...], minutes: float, memory: float
) -> None:
    spacing = (1.0, 1.0, 1.5)[: len(shape)]
    sizer = Sizer(1, 3, spacing, 10**9, Budget(minutes, memory, 0.5))
    found = sizer.sized(shape)
    more = replace(sizer, budget=Budget(4 * minutes, memory, 0.5)).sized(shape)
    assert more.gmacs * more.batch >= found.gmacs * found.batch
    strides = found.model.strides or ((2,) * len(shape),) * (len(found.model.widths) - 1)
    for side, *steps in zip(found.window, *strides, strict=True):
        assert side % prod(steps) == 0
    if found.steps >= 3000:
        assert found.memory_gib <= memory


def test_the_cost_of_a_network_is_that_of_its_layers() -> None:
    sizer = Sizer(1, 2, (1.0, 1.0, 1.0), 10**9, Budget(1, 1, 1))
    for window in ((32, 48, 64), (40, 56, 40)):
        found = sizer._of(window, 8, 2)
        assert isinstance(found.model, DynUNet)
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            module = found.model(1, 2).eval()
            module(torch.empty(1, 1, *window))
        assert found.gmacs == pytest.approx(counter.get_total_flops() / 2e9)


def ball_plan(folder: Path, **wish: Any) -> PlanSummary:
    where = Where(folder / "images", folder / "labels")
    found = Wish(replace(RICH, minutes=0.02, teraflops=1e-4), **wish)
    return plan(where, "mine", found, Labels((Label("ball", (1,)),)))


@pytest.mark.parametrize("dims", ["auto", "2"])
def test_a_plan_trains_unedited(tmp_path: Path, dims: Any) -> None:
    ball_studies(tmp_path, 5)
    made = ball_plan(tmp_path, dims=dims)
    file = tmp_path / "mine.yaml"
    file.write_text(made.text)
    pipeline = load_pipeline(file)
    assert isinstance(pipeline.inference[0], SlidingWindow if dims == "auto" else Slices)
    summary = train(pipeline, tmp_path / "model")
    assert summary.iterations > 0
    assert load_pipeline(tmp_path / "model").name == "mine"


@pytest.mark.parametrize("flat", [0, 1, 2])
@pytest.mark.parametrize("labels", [("ball",), ("liver", "spleen")])
def test_a_plan_for_slices_is_taken_whichever_axis_they_lack(
    tmp_path: Path, labels: tuple[str, ...], flat: int
) -> None:
    ball_studies(tmp_path, 3)
    affine = np.diag([*(8.0 if axis == flat else 1.0 for axis in range(3)), 1.0])
    for number in range(3):
        for name, data in zip(("images", "labels"), ball(number), strict=True):
            save(tmp_path / name / f"study_{number:02d}.nii.gz", data, affine)
    where, wish = Where(tmp_path / "images", tmp_path / "labels"), Wish(RICH, dims="2")
    named = Labels(tuple(Label(name, (n,)) for n, name in enumerate(labels, 1)))
    (tmp_path / "mine.yaml").write_text(plan(where, "mine", wish, named).text)
    made = load_pipeline(tmp_path / "mine.yaml")
    (step,) = made.inference
    assert isinstance(step, Slices)
    assert step.axes == (flat,)
    assert made.training is not None
    flips = [one.axes for one in made.training.augmentation if isinstance(one, RandFlip)]
    wanted = tuple(axis for axis in ((0, 1, 2) if len(labels) == 1 else (0,)) if axis != flat)
    assert flips == ([wanted] if wanted else [])


def test_studies_that_memory_cannot_hold_are_kept_on_disk() -> None:
    def cache(count: int, side: int, gib: float) -> str | None:
        studies = [seen(n, shape=(side, side, side)) for n in range(count)]
        wish = Wish(replace(RICH, memory_gib=gib))
        found = planned(fingerprint(studies, HIPPOCAMPUS, ("MRI",)), HIPPOCAMPUS, wish)
        return bare(found.sections["training"].value).get("cache")

    # Four bytes a voxel of the image and one of the mask: 1.25 and 0.16 GiB.
    assert cache(16, 256, 8.0) is None
    assert cache(16, 256, 4.0) == "disk"
    assert cache(16, 128, 4.0) is None


def test_every_choice_of_a_plan_has_its_reason_above_it(tmp_path: Path) -> None:
    ball_studies(tmp_path, 5)
    lines = ball_plan(tmp_path).text.splitlines()
    for word in ("orientation", "spacing", "normalize_intensity", "spatial_dims", "widths",
                 "norm", "window", "precision", "keep_largest", "max_minutes", "patch", "batch",
                 "learning_rate", "foreground", "rand_affine", "rand_flip"):  # fmt: skip
        at = next(n for n, line in enumerate(lines) if line.strip(" -").startswith(word))
        assert lines[at - 1].strip().startswith("#"), word


def test_a_second_stage_crops_to_what_the_first_finds(tmp_path: Path) -> None:
    first = ball_studies(tmp_path, 5)
    made = ball_plan(tmp_path, within=first)
    (tmp_path / "mine.yaml").write_text(made.text)
    within = load_pipeline(tmp_path / "mine.yaml").within
    assert within is not None
    assert within.pipeline == first


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"0": "background", "1": "Ball"}, {"Ball": (1,)}),
        ({"background": 0, "whole": [1, 2], "part": 2, "ignore": 3},
         {"whole": (1, 2), "part": (2,)}),
    ],
)  # fmt: skip
def test_labels_are_called_as_the_data_set_calls_them(
    tmp_path: Path, said: Any, names: Any
) -> None:
    ball_studies(tmp_path, 2)
    (tmp_path / "images").rename(tmp_path / "imagesTr")
    (tmp_path / "labels").rename(tmp_path / "labelsTr")
    listed = [{"image": f"imagesTr/study_0{n}.nii.gz", "label": f"labelsTr/study_0{n}.nii.gz"}
              for n in range(2)]  # fmt: skip
    told = {"labels": said, "modality": {"0": "CT"}, "training": listed}
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    made = plan(Where(tmp_path), "mine", Wish(RICH))
    (tmp_path / "mine.yaml").write_text(made.text)
    pipeline = load_pipeline(tmp_path / "mine.yaml")
    assert {label.name: label.values for label in pipeline.labels} == names
    assert pipeline.labels.ignore == said.get("ignore")
    assert pipeline.input.channels == ("CT",)


def test_the_command_prints_a_pipeline_and_nothing_else_to_stdout(tmp_path: Path) -> None:
    ball_studies(tmp_path, 4)
    save(tmp_path / "labels/lost.nii.gz", np.zeros((4, 4, 4), np.uint8))
    words = ["plan", str(tmp_path / "images"), "--reference", str(tmp_path / "labels"),
             "--minutes", "1", "--memory", "2", "--teraflops", "0.01", "--name", "mine",
             "--fingerprint", str(tmp_path / "f.json"),
             "--plot", str(tmp_path / "f.png")]  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    (tmp_path / "mine.yaml").write_text(result.stdout)
    assert load_pipeline(tmp_path / "mine.yaml").name == "mine"
    assert "lost: orphan label" in result.stderr
    assert "spacing z mm" in result.stderr
    said = json.loads((tmp_path / "f.json").read_text())
    assert said["median_shape"] == [20, 22, 18]
    assert said["labels"][0]["studies"] == 4
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_budget_of_nothing_is_refused(tmp_path: Path) -> None:
    ball_studies(tmp_path, 2)
    words = ["plan", str(tmp_path / "images"), "--reference", str(tmp_path / "labels")]
    result = CliRunner().invoke(main, [*words, "--minutes", "0", "--teraflops", "1"])
    assert result.exit_code == 2
    assert "minutes is above 0" in result.stderr


def test_nothing_sound_is_said(tmp_path: Path) -> None:
    ball_studies(tmp_path, 1)
    (tmp_path / "images/study_00.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="fit to be planned from"):
        plan(Where(tmp_path / "images", tmp_path / "labels"), "mine", Wish(RICH))
