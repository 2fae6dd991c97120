"""Pipeline files: what is built, and every mistake at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import ModelError, PipelineError
from medseg.image import Label, Labels
from medseg.inference import SlidingWindow, Threshold
from medseg.metrics import Dice, Iou
from medseg.models import DynUNet
from medseg.models.checkpoint import Checkpoint
from medseg.pipeline import (
    Input,
    Limits,
    Site,
    check_ready,
    load_labels,
    load_pipeline,
    load_site,
)
from medseg.postprocess.components import KeepLargest, RemoveSmall
from medseg.preprocess import Monai, NormalizeIntensity, Orientation, Spacing
from medseg.training import AUGMENTATION

HIPPOCAMPUS = """\
name: hippocampus
description: Hippocampus head and body on T1 MRI
labels:
  anterior: 1
  posterior: {value: 2, colour: "#d95f02", code: SCT:1}
ignore: 255
input: {path: ../data, channels: [t1], nonfinite: fill}
preprocess:
  - orientation: {axcodes: RAS}
  - spacing: {pixdim: [1, 1, 1.5]}
  - normalize_intensity
inference:
  - sliding_window:
      model: {name: dynunet, spatial_dims: 3, widths: [16, 32, 64]}
      weights: weights.safetensors
      window: [40, 56, 40]
      overlap: 0
postprocess: [keep_largest, {remove_small: {min_ml: 1e-1}}]
metrics:
  - dice: {both_empty: one}
training:
  max_minutes: 20
  patch: [40, 56, 40]
  augmentation: [{rand_flip: {prob: 1, axes: [0]}}, rand_affine]
output: ../out/hippocampus
deterministic: true
"""
BALL = "name: ball\nlabels: {ball: 1}\ninference: [{threshold: {minimum: 50}}]\n"


def written(folder: Path, text: str, name: str = "p.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def complaints(folder: Path, text: str, *settings: str) -> list[str]:
    """``line:column: key: message`` of everything that is wrong with a text."""
    path = written(folder, text)
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path, settings)
    assert caught.value.code == "E_CONFIG"
    return [str(one).removeprefix(f"{path}:") for one in caught.value.complaints]


def test_a_file_becomes_frozen_steps(tmp_path: Path) -> None:
    pipeline = load_pipeline(written(tmp_path / "pipelines", HIPPOCAMPUS))
    assert pipeline.name == "hippocampus"
    assert pipeline.labels == Labels(
        (Label("anterior", (1,)), Label("posterior", (2,), "#d95f02", "SCT:1")), 255
    )
    assert pipeline.input == Input(path=tmp_path / "data", channels=("t1",), nonfinite="fill")
    assert pipeline.preprocess == (
        Orientation(axcodes="RAS"),
        Spacing(pixdim=(1.0, 1.0, 1.5)),
        NormalizeIntensity(),
    )
    assert pipeline.inference == (
        SlidingWindow(
            model=DynUNet(spatial_dims=3, widths=(16, 32, 64)),
            weights=tmp_path / "pipelines/weights.safetensors",
            window=(40, 56, 40),
            overlap=0.0,
        ),
    )
    assert type(pipeline.inference[0].overlap) is float  # type: ignore[attr-defined]
    assert pipeline.postprocess == (KeepLargest(), RemoveSmall(min_ml=0.1))
    assert pipeline.metrics == (Dice(both_empty="one"),)
    assert pipeline.training is not None
    assert pipeline.training.augmentation == (
        AUGMENTATION["rand_flip"](prob=1.0, axes=(0,)),  # type: ignore[call-arg]
        AUGMENTATION["rand_affine"](),
    )
    assert pipeline.output == tmp_path / "out/hippocampus"
    assert pipeline.deterministic is True


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    pipeline = load_pipeline(written(tmp_path, BALL))
    assert pipeline.inference == (Threshold(minimum=50.0),)
    assert pipeline.input == Input()
    assert pipeline.metrics == (Dice(), Iou())
    assert pipeline.within is None
    assert pipeline.training is None
    assert pipeline.output is None


def test_regions_are_lists_of_values(tmp_path: Path) -> None:
    labels = load_labels(
        written(tmp_path, "labels: {whole: [1, 2, 4], core: {values: [1, 4]}, enhancing: 4}")
    )
    assert [label.values for label in labels] == [(1, 2, 4), (1, 4), (4,)]
    assert not labels.exclusive


def test_a_model_folder_is_a_pipeline(tmp_path: Path) -> None:
    written(tmp_path / "model", BALL, "pipeline.yaml")
    assert load_pipeline(tmp_path / "model").name == "ball"
    with pytest.raises(PipelineError, match=r"without pipeline\.yaml") as caught:
        load_pipeline(tmp_path)
    assert caught.value.code == "E_NOT_FOUND"


def test_absolute_paths_and_the_home_folder_are_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    pipeline = load_pipeline(written(tmp_path, BALL + "input: {path: /scans}\noutput: ~/out\n"))
    assert pipeline.input.path == Path("/scans")
    assert pipeline.output == tmp_path / "home/out"


def test_other_arguments_of_a_monai_step_are_its_own(tmp_path: Path) -> None:
    text = BALL + "preprocess: [{monai: {transform: ScaleIntensity, minv: 0, maxv: 2}}]\n"
    step = load_pipeline(written(tmp_path, text)).preprocess[0]
    assert step == Monai("ScaleIntensity", {"minv": 0, "maxv": 2})


TWELVE = """\
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


def test_twelve_mistakes_are_told_at_once_each_at_its_place(tmp_path: Path) -> None:
    assert complaints(tmp_path, TWELVE) == [
        "3:9: input.nonfinit: no such option of 'input'; did you mean 'nonfinite'?",
        "5:28: preprocess.0.axcodes: axcodes name each of L/R, P/A and I/S once, such as RAS,"
        " not 'RAX'",
        "6:15: preprocess.1.pixdimm: no such option of 'spacing'; did you mean 'pixdim'?",
        "7:5: preprocess.2: no such step of 'preprocess'; did you mean 'normalize_intensity'?",
        "8:5: preprocess.3: no such step of 'preprocess'; it belongs to 'postprocess'",
        "11:21: inference.0.model.name: no such network; did you mean 'dynunet'?",
        "12:24: inference.0.window: wants three whole numbers, not [96, 96, 'big']",
        "13:17: inference.0.blending: wants 'gaussian', 'constant' or 'nnunet', not 'gausian';"
        " did you mean 'gaussian'?",
        "17:16: inference.1.overlap: overlap lies in [0, 1), not 1.5",
        "19:29: postprocess.0.labels: no label is called 'tumor'; did you mean 'tumour'?",
        "20:11: metrics.0: no such step of 'metrics'; did you mean 'dice'?",
        "21:16: deterministic: wants true or false, not 'no'; write false",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "1:1: yaml: the file is a mapping of options, 'key: value'"),
        ("", "1:1: yaml: the file is a mapping of options, 'key: value'"),
        (
            BALL.replace("name: ball\n", ""),
            "1:1: name: 'pipeline' needs this option",
        ),
        (
            BALL.replace("name", "nme"),
            "1:1: nme: no such option of 'pipeline'; did you mean 'name'?",
        ),
        (
            BALL.replace("labels", "lables"),
            "2:1: lables: no such option of 'pipeline'; did you mean 'labels'?",
        ),
        (BALL + "ignroe: 3\n", "4:1: ignroe: no such option of 'pipeline'; did you mean 'ignore'?"),
        (
            BALL.replace("labels: {ball: 1}\n", ""),
            "1:1: labels: the file needs 'labels:', such as {tumour: 1}",
        ),
        (
            BALL.replace("{ball: 1}", "[ball]"),
            "2:9: labels: wants a mapping of names to values, such as {tumour: 1}, not ['ball']",
        ),
        (
            BALL.replace("ball: 1", "ball: true"),
            "2:16: labels.ball: wants a value, a list of values or a mapping, not true",
        ),
        (
            BALL.replace("ball: 1", "ball: {value: 1, color: x}"),
            "2:27: labels.ball.color: no such option of 'ball'; did you mean 'colour'?",
        ),
        (
            BALL.replace("ball: 1", "ball: {value: 1, colour: red}"),
            "2:35: labels.ball.colour: colour is written #rrggbb, not 'red'",
        ),
        (
            BALL.replace("ball: 1", "ball: {colour: '#123456'}"),
            "2:16: labels.ball: a label has either 'value' or 'values'",
        ),
        (BALL.replace("ball: 1", "ball: 0"), "2:16: labels.ball: label 'ball': values run from 1"),
        (
            BALL.replace("ball: 1", "ball: [1, 1]"),
            "2:16: labels.ball: label 'ball' needs one value or several different ones",
        ),
        (BALL + "ignore: 1\n", "4:9: ignore: the ignore value 1 is also a label's value"),
        (BALL + "ignore: x\n", "4:9: ignore: wants a whole number or nothing, not 'x'"),
        (
            BALL + "input: {channels: [t1, t1]}\n",
            "4:19: input.channels: channels names one image of a study or several, each once,"
            " not ('t1', 't1')",
        ),
        (
            BALL + "input: {channels: ['']}\n",
            "4:19: input.channels: channels are words, none of them empty",
        ),
        (BALL + "input: 3\n", "4:8: input: wants a mapping of options, not 3"),
        (BALL + "metrics: dice\n", "4:10: metrics: wants a list of steps, not 'dice'"),
        (
            BALL + "metrics: [3]\n",
            "4:11: metrics.0: wants a step's name, alone or with its options, not 3",
        ),
        (
            BALL + "metrics: [dice: 3]\n",
            "4:17: metrics.0: 'dice' wants a mapping of options, not 3",
        ),
        (BALL + "output: 5\n", "4:9: output: wants a path or nothing, not 5"),
        (BALL + "output: ''\n", "4:9: output: wants a path or nothing, not ''"),
        (
            BALL.replace("minimum: 50", "minimum: .inf"),
            "3:35: inference.0.minimum: wants a number or nothing, not inf",
        ),
        (
            BALL.replace("minimum: 50", "minimum: true"),
            "3:35: inference.0.minimum: wants a number or nothing, not true",
        ),
        (
            BALL.replace("minimum: 50", "minimum: '50'"),
            "3:35: inference.0.minimum: wants a number or nothing, not '50'",
        ),
        (
            BALL.replace("minimum: 50", "minimum: 50, channel: 1.0"),
            "3:48: inference.0.channel: wants a whole number, not 1.0",
        ),
        (
            BALL.replace("{threshold: {minimum: 50}}", "threshold"),
            "3:13: inference.0: threshold needs minimum, maximum or 'method: otsu'",
        ),
        (
            BALL.replace("[{threshold: {minimum: 50}}]", "[]"),
            "3:12: inference: inference has at least one step",
        ),
        (BALL.replace("name: ball", "name: a/b"), "1:7: name: name is one line that could"),
        (
            BALL.replace("ball: 1", "ball: 1, box: 2"),
            "3:14: inference.0: 'threshold' decides one label, and the pipeline has 2",
        ),
        (
            BALL + "training: {max_epochs: 1, patch: [8, 8, 8]}\n",
            "4:1: training: trains one network, and 'inference' has 0",
        ),
        (
            BALL + "within: {pipeline: other.yaml}\n",
            "4:20: within.pipeline: E_NOT_FOUND",
        ),
        (
            BALL + "within: {pipeline: p.yaml}\n",
            "4:20: within.pipeline: leads back to this pipeline",
        ),
        (
            BALL + "postprocess: [{relabel: {values: {ball: 1, box: 2}}}]\n",
            "4:44: postprocess.0.values: no label is called 'box'; there is 'ball'",
        ),
        (
            BALL + "postprocess: [{inside: {label: ball, within: bal}}]\n",
            "4:46: postprocess.0.within: no label is called 'bal'; did you mean 'ball'?",
        ),
    ],
)
def test_a_mistake_is_told_once_at_its_place(tmp_path: Path, text: str, said: str) -> None:
    found = complaints(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(said)


NETWORK = """\
name: net
labels: {a: 1, b: 2}
inference:
  - sliding_window:
      model: {name: dynunet}
      window: [8, 8, 8]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{name: dynunet}", "{widths: [4, 8]}", "5:7: inference.0.model: wants a name and options"),
        ("{name: dynunet}", "3", "5:14: inference.0.model: wants a name and options"),
        ("{name: dynunet}", "{name: [x]}", "5:21: inference.0.model.name: no such network"),
        (
            "dynunet}",
            "dynunet, widths: 4}",
            "5:38: inference.0.model.widths: wants a list of whole",
        ),
        ("dynunet}", "dynunet, width: [4]}", "5:30: inference.0.model.width: no such option of"),
        ("dynunet}", "dynunet, norm: x}", "5:36: inference.0.model.norm: wants 'instance' or 'bat"),
        (
            "dynunet}",
            "dynunet, spatial_dims: 4}",
            "5:44: inference.0.model.spatial_dims: wants 2 or 3, not 4",
        ),
        (
            "dynunet}",
            "dynunet, strides: [2, [2, x, 1], 1, 1]}",
            "5:43: inference.0.model.strides: wants a list of (a whole number or a list of",
        ),
        (
            "      window: [8, 8, 8]\n",
            "",
            "4:5: inference.0.window: 'sliding_window' needs this option",
        ),
        ("[8, 8, 8]", "[8, 8]", "6:15: inference.0.window: wants three whole numbers, not [8, 8]"),
        ("[8, 8, 8]", "[8, 8, 0]", "6:15: inference.0.window: window is three sides of at least"),
        (
            "[8, 8, 8]\n",
            "[8, 8, 8]\ntraining: {max_epochs: 1, patch: [8, 8]}\n",
            "7:34: training.patch: patch has 2 sides, and the network 3 dimensions",
        ),
    ],
)
def test_mistakes_in_a_network_are_told_at_their_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    found = complaints(tmp_path, NETWORK.replace(old, new))
    assert len(found) == 1
    assert found[0].startswith(said)


def test_a_network_may_be_named_by_a_bare_word(tmp_path: Path) -> None:
    pipeline = load_pipeline(written(tmp_path, NETWORK.replace("{name: dynunet}", "dynunet")))
    assert pipeline.inference[0].model == DynUNet()  # type: ignore[attr-defined]


def test_two_networks_are_averaged_but_not_trained(tmp_path: Path) -> None:
    step = NETWORK.partition("inference:\n")[2]
    load_pipeline(written(tmp_path, NETWORK + step))
    found = complaints(tmp_path, NETWORK + step + "training: {max_epochs: 1, patch: [8, 8, 8]}\n")
    assert found == ["10:1: training: trains one network, and 'inference' has 2"]


def test_no_count_of_networks_is_claimed_beside_an_unknown_step(tmp_path: Path) -> None:
    text = BALL.replace("threshold", "treshold") + "training: {max_epochs: 1, patch: [8, 8, 8]}\n"
    assert len(complaints(tmp_path, text)) == 1


def test_labels_to_crop_by_are_those_of_the_inner_pipeline(tmp_path: Path) -> None:
    written(tmp_path, BALL.replace("ball", "body"), "body.yaml")
    text = BALL + "within: {pipeline: body.yaml, labels: [body], margin_mm: 5}\n"
    within = load_pipeline(written(tmp_path, text)).within
    assert within is not None
    assert within.labels == ("body",)
    found = complaints(tmp_path, text.replace("[body]", "[ball]"))
    assert found == ["4:40: within.labels: no label is called 'ball'; there is 'body'"]


def test_what_to_crop_by_must_make_sense(tmp_path: Path) -> None:
    written(tmp_path, BALL, "body.yaml")
    start = BALL + "within: {pipeline: body.yaml, "
    assert complaints(tmp_path, start + "labels: []}\n") == [
        "4:39: within.labels: labels is left out for all labels, or names at least one"
    ]
    assert complaints(tmp_path, start + "margin_mm: -1}\n") == [
        "4:42: within.margin_mm: margin_mm is 0 or more, not -1.0"
    ]


def test_mistakes_of_the_inner_pipeline_are_told_where_it_is_named(tmp_path: Path) -> None:
    written(tmp_path, BALL.replace("minimum", "minimun"), "body.yaml")
    found = complaints(tmp_path, BALL + "within: {pipeline: body.yaml}\n")
    assert len(found) == 1
    assert found[0].startswith("4:20: within.pipeline: E_CONFIG")
    assert "did you mean 'minimum'?" in found[0]


def test_pipelines_within_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path, BALL + "within: {pipeline: p.yaml}\n", "other.yaml")
    found = complaints(tmp_path, BALL + "within: {pipeline: other.yaml}\n")
    assert "leads back to this pipeline" in found[0]


def test_a_relabelling_that_merges_labels_is_refused(tmp_path: Path) -> None:
    text = NETWORK + "postprocess: [keep_largest, {relabel: {values: {a: 2}}}]\n"
    found = complaints(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith("7:30: postprocess.1: ")


def test_weights_may_be_another_projects_checkpoint(tmp_path: Path) -> None:
    text = NETWORK + "      weights: {path: theirs.pth, format: uctransnet}\n"
    (step,) = load_pipeline(written(tmp_path, text)).inference
    assert step.weights == Checkpoint(tmp_path / "theirs.pth", "uctransnet")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("{path: theirs.pth}", "weights.format: 'weights' needs this option"),
        ("{path: theirs.pth, format: std}", "uctransnet"),
        ("{file: theirs.pth, format: uctransnet}", "weights.path: 'weights' needs this option"),
        ("7", "a path"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path: Path, said: str, word: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load_pipeline(written(tmp_path, NETWORK + f"      weights: {said}\n"))
    assert word in str(caught.value)


def test_weights_are_asked_for_only_when_a_pipeline_is_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="names no weights") as caught:
        check_ready(load_pipeline(written(tmp_path, NETWORK)))
    assert caught.value.code == "E_CHECKPOINT"
    path = written(tmp_path, NETWORK + "      weights: net.safetensors\n")
    with pytest.raises(ModelError, match="no such weights file"):
        check_ready(load_pipeline(path))
    (tmp_path / "net.safetensors").write_bytes(b"...")
    check_ready(load_pipeline(path))


def test_weights_of_the_inner_pipeline_are_asked_for_as_well(tmp_path: Path) -> None:
    written(tmp_path, NETWORK, "inner.yaml")
    pipeline = load_pipeline(written(tmp_path, BALL + "within: {pipeline: inner.yaml}\n"))
    with pytest.raises(ModelError, match="'net' names no weights"):
        check_ready(pipeline)


def test_a_site_says_where_the_work_runs(tmp_path: Path) -> None:
    path = written(tmp_path, "device: cuda:1\nthreads: 4\nlimits: {memory_gib: 8}\n")
    assert load_site(path) == Site("cuda:1", 4, Limits(8.0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device: gpu\n", "1:9: device: device is auto, cpu"),
        ("threads: 0\n", "1:10: threads: threads is at least 1, not 0"),
        ("limits: {memory_gib: 0}\n", "1:22: limits.memory_gib: memory_gib is above 0, not 0"),
        ("limits: {voxels: 0}\n", "1:18: limits.voxels: voxels is above 0, not 0"),
        ("limits: {memory: 8}\n", "1:10: limits.memory: no such option of 'limits'; did you mean"),
        ("overlap: 0.5\n", "1:1: overlap: no such option of 'site'"),
    ],
)
def test_a_site_cannot_change_what_is_done(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(PipelineError) as caught:
        load_site(path)
    assert str(caught.value.complaints[0]).startswith(f"{path}:{said}")


def test_a_file_of_labels_holds_nothing_else(tmp_path: Path) -> None:
    assert load_labels(written(tmp_path, "labels: {a: 1}\nignore: 9\n")).ignore == 9
    with pytest.raises(PipelineError, match="a file of labels has"):
        load_labels(written(tmp_path, "labels: {a: 1}\nname: x\n"))


def test_an_error_says_the_first_mistake_to_those_who_only_print_it(tmp_path: Path) -> None:
    path = written(tmp_path, TWELVE)
    with pytest.raises(PipelineError, match=r"12 mistakes, the first: .*:3:9: input\.nonfinit"):
        load_pipeline(path)


@pytest.mark.parametrize(
    ("swap", "told"),
    [
        ("{front: bakc}", "did you mean 'back'"),
        ("{front: parts}", "one value each"),
        ("{front: back}", None),
    ],
)
def test_labels_that_a_mirror_exchanges_are_known_and_simple(
    tmp_path: Path, swap: str, told: str | None
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\nlabels: {parts: {values: [1, 3]}, front: 1, back: 2}\n"
        "inference: [{sliding_window: {model: dynunet, window: [8, 8, 8]}}]\n"
        "training:\n  patch: [8, 8, 8]\n  max_epochs: 1\n"
        f"  augmentation:\n    - rand_flip: {{swap: {swap}}}\n"
    )
    if told is None:
        assert load_pipeline(path).training is not None
        return
    with pytest.raises(PipelineError) as error:
        load_pipeline(path)
    assert told in " ".join(map(str, error.value.complaints))
    assert "p.yaml:8" in " ".join(map(str, error.value.complaints))
