"""``--set key.path=value``: where it goes, and what is said when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import PipelineError
from medseg.pipeline import Pipeline, load_pipeline

TEXT = """\
name: net
labels: {a: 1, b: 2}
preprocess:
  - normalize_intensity
  - spacing: {pixdim: [1, 1, 1]}
  - clip: {minimum: 0}
  - clip: {maximum: 9}
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 8, 16]}
      window: [8, 8, 8]
output: out
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(TEXT)
    return tmp_path / "p.yaml"


def get(pipeline: Pipeline, where: str) -> object:
    thing: object = pipeline
    for word in where.split("."):
        thing = thing[int(word)] if word.isdecimal() else getattr(thing, word, None)  # type: ignore[index]
    return thing


@pytest.mark.parametrize(
    ("setting", "where", "value"),
    [
        ("name=other", "name", "other"),
        ("inference.0.sliding_window.overlap=0.25", "inference.0.overlap", 0.25),
        ("inference.0.overlap=0.25", "inference.0.overlap", 0.25),
        ("inference.sliding_window.overlap=2.5e-1", "inference.0.overlap", 0.25),
        ("inference.0.model.widths.1=32", "inference.0.model.widths", (4, 32, 16)),
        ("inference.0.model.widths=[4, 4, 4, 4]", "inference.0.model.widths", (4, 4, 4, 4)),
        ("preprocess.spacing.pixdim=[2, 2, 3]", "preprocess.1.pixdim", (2.0, 2.0, 3.0)),
        ("preprocess.normalize_intensity.nonzero=true", "preprocess.0.nonzero", True),
        ("preprocess.0.nonzero=true", "preprocess.0.nonzero", True),
        ("preprocess.3.maximum=5", "preprocess.3.maximum", 5.0),
        ("preprocess.0={clip: {minimum: 3}}", "preprocess.0.minimum", 3.0),
        ("preprocess.spacing={pixdim: [3, 3, 3]}", "preprocess.1.pixdim", (3.0, 3.0, 3.0)),
        ("input.channels=[PET, CT]", "input.channels", ("PET", "CT")),
        ("input={nonfinite: fill}", "input.nonfinite", "fill"),
        ("training={patch: [8, 8, 8], max_epochs: 2}", "training.max_epochs", 2),
        ("labels.b=7", "labels.values", frozenset({1, 7})),
        ("description=a = b", "description", "a = b"),
        (" deterministic = true", "deterministic", True),
        ("output=", "output", None),
    ],
)
def test_a_setting_replaces_one_option(path: Path, setting: str, where: str, value: object) -> None:
    assert get(load_pipeline(path, [setting]), where) == value
    assert get(load_pipeline(path), where) != value


def test_later_settings_win_and_build_on_earlier_ones(path: Path) -> None:
    settings = ["training.patch=[8, 8, 8]", "training.max_epochs=3", "training.max_epochs=4"]
    training = load_pipeline(path, settings).training
    assert training is not None
    assert training.max_epochs == 4


def test_paths_in_settings_start_where_one_stands(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pipeline = load_pipeline(path, ["output=mine"])
    assert pipeline.output == tmp_path / "here/mine"
    assert load_pipeline(path).output == tmp_path / "out"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("overlap", "--set:1:1: overlap: a setting is written key.path=value"),
        ("=3", "--set:1:1: --set: a setting is written key.path=value"),
        ("a..b=3", "--set:1:1: a..b: a setting is written key.path=value"),
        (".".join("a" * 30) + "=1", "--set:1:1: a.a."),
        ("outptu=x", "--set:1:1: outptu: no such option of 'pipeline'; did you mean 'output'?"),
        ("inference.0.overlapp=1", "--set:1:13: inference.0.overlapp: no such option of"),
        ("inference.0.overlap=x", "--set:1:21: inference.0.overlap: wants a number, not 'x'"),
        ("inference.0.overlap=7", "--set:1:21: inference.0.overlap: overlap lies in [0, 1)"),
        ("inference.1.overlap=1", "--set:1:11: inference.1.overlap: the list has 1 items, counted"),
        ("inference.slices.overlap=1", "--set:1:11: inference.slices.overlap: no such step in the"),
        (
            "preprocess.clip.minimum=1",
            "--set:1:12: preprocess.clip.minimum: 2 steps are called clip",
        ),
        ("preprocess.spacin.pixdim=1", "--set:1:12: preprocess.spacin.pixdim: no such step in the"),
        ("name.x=1", "--set:1:6: name.x: 'net' stands there, which has nothing called x"),
        ("output=[a", "--set:1:10: yaml: not YAML"),
        ("output=&a b", "--set:1:8: yaml: an anchor"),
        ("output=3", "--set:1:8: output: wants a path or nothing, not 3"),
    ],
)
def test_a_mistaken_setting_is_told_with_its_column(path: Path, setting: str, said: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path, [setting])
    (complaint,) = caught.value.complaints
    assert str(complaint).startswith(said)
    assert complaint.source == setting


def test_mistakes_of_settings_stand_after_those_of_the_file(path: Path) -> None:
    path.write_text(TEXT.replace("output: out", "outptu: out"))
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path, ["nme=x", "inference.0.overlap=9"])
    places = [(c.path, c.line) for c in caught.value.complaints]
    assert places == [(str(path), 12), ("--set", 1), ("--set", 2)]
