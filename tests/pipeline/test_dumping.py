"""Pipelines to YAML and back, and the digest that stands for what they do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.image import Label, Labels
from medseg.inference import DenseCrf, Slices, SlidingWindow, Threshold
from medseg.io import write_atomically
from medseg.metrics import Dice, Iou
from medseg.models import DynUNet
from medseg.models.checkpoint import Checkpoint
from medseg.pipeline import (
    Input,
    Pipeline,
    Within,
    dump_pipeline,
    load_pipeline,
    pipeline_digest,
)
from medseg.pipeline.dumping import _yaml
from medseg.pipeline.source import Source, parse, plain
from medseg.postprocess.components import KeepLargest, RemoveSmall
from medseg.postprocess.relabel import Relabel
from medseg.preprocess import Clip, Monai, NormalizeIntensity, Orientation, Spacing
from medseg.step import Step
from medseg.training import AUGMENTATION, Training
from medseg.training.spatial import RandFlip

TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def tupled(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(tupled, value))
    if isinstance(value, dict):
        return {key: tupled(item) for key, item in value.items()}
    return value


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=5))
def test_whatever_is_written_reads_back_the_same(said: dict[str, Any]) -> None:
    node, complaints = parse(Source("a.yaml", _yaml(said), Path()))
    assert complaints == []
    assert node is not None
    assert plain(node) == tupled(said)


@pytest.mark.parametrize(
    "word", ["no", "on", "null", "1e-4", "0x1", "~", "", " a", "a:", "- a", "#a"]
)
def test_words_that_look_like_something_else_stay_words(word: str) -> None:
    node, _ = parse(Source("a.yaml", _yaml({"a": word}), Path()))
    assert node is not None
    assert plain(node) == {"a": word}


NAMES = st.lists(TEXTS.filter(bool), min_size=1, max_size=4, unique=True)
SIDES = st.integers(1, 99)
LENGTHS = st.floats(0.01, 50)
PREPROCESS = st.lists(
    st.one_of(
        st.just(Orientation(axcodes="LPS")),
        st.builds(Spacing, pixdim=st.tuples(LENGTHS, LENGTHS, LENGTHS)),
        st.builds(NormalizeIntensity, nonzero=st.booleans()),
        st.builds(Clip, minimum=NUMBERS),
        st.just(Monai("ScaleIntensity", {"minv": 0.5, "maxv": 2, "channel_wise": True})),
    ),
    max_size=4,
)
NETWORKS = st.builds(
    SlidingWindow,
    model=st.builds(
        DynUNet,
        widths=st.tuples(SIDES, SIDES, SIDES),
        strides=st.none() | st.just((2, (1, 2, 2))),
        norm=st.sampled_from(["instance", "batch"]),
    ),
    weights=st.none()
    | st.just(Path("/models/net.safetensors"))
    | st.just(Checkpoint(Path("/models/net.pth"), "uctransnet")),
    window=st.tuples(SIDES, SIDES, SIDES),
    mirror=st.sampled_from([(), (0,), (0, 2)]),
    overlap=st.floats(0, 0.9),
)
RECIPES = st.builds(
    Training,
    patch=st.tuples(SIDES, SIDES, SIDES),
    max_minutes=LENGTHS,
    learning_rate=st.floats(1e-9, 1),
    folds=st.none() | st.just(Path("/folds.json")),
    augmentation=st.lists(
        st.sampled_from([cls() for cls in AUGMENTATION.values()]), max_size=3
    ).map(tuple),
)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    names = draw(NAMES)
    labels = tuple(
        Label(name, (value,), draw(st.none() | st.just("#00ff00")), draw(st.none() | TEXTS))
        for value, name in enumerate(names, 1)
    )
    some = draw(st.none() | st.just((names[0],)))
    network, training = draw(NETWORKS), draw(st.none() | RECIPES)
    if training and not any(isinstance(one, RandFlip) for one in training.augmentation):
        # Mirror images that training never saw are refused.
        network = replace(network, mirror=())
    return Pipeline(
        name=draw(st.text("abc é-0", min_size=1, max_size=8)),
        labels=Labels(labels, draw(st.sampled_from([None, 255]))),
        inference=(network,),
        description=draw(TEXTS),
        input=Input(
            path=draw(st.none() | st.just(Path("/scans/{study}.nii.gz"))),
            channels=tuple(draw(NAMES)),
            nonfinite=draw(st.sampled_from(["refuse", "fill"])),
        ),
        preprocess=tuple(draw(PREPROCESS)),
        refine=draw(st.sampled_from([(), (DenseCrf(appearance_mm=5.0, method="grid"),)])),
        postprocess=(KeepLargest(labels=some), RemoveSmall(min_ml=draw(LENGTHS))),
        metrics=draw(st.sampled_from([(), (Dice(),), (Dice(), Iou()), (Iou(both_empty="one"),)])),
        training=training,
        output=draw(st.none() | st.just(Path("/out put/x"))),
        deterministic=draw(st.booleans()),
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dumped")


@settings(deadline=None, max_examples=40)
@given(pipeline=pipelines())
def test_a_dumped_pipeline_loads_as_itself(pipeline: Pipeline, here: Path) -> None:
    path = here / "pipeline.yaml"
    write_atomically(path, dump_pipeline(pipeline).encode())
    again = load_pipeline(path)
    assert again == pipeline
    assert pipeline_digest(again) == pipeline_digest(pipeline)
    assert dump_pipeline(again) == dump_pipeline(pipeline)


def plain_pipeline(**changes: Any) -> Pipeline:
    pipeline = Pipeline("ball", Labels((Label("ball", (1,)),)), (Threshold(minimum=50.0),))
    return replace(pipeline, **changes)


def test_what_is_written_is_what_a_person_would_write() -> None:
    pipeline = plain_pipeline(
        labels=Labels((Label("ball", (1,)), Label("box", (2,), "#ff0000")), 9),
        preprocess=(Spacing(pixdim=(1.0, 1.5, 2.0)), NormalizeIntensity()),
        inference=(Slices(model=DynUNet(spatial_dims=2), window=(64, 64)),),
        postprocess=(KeepLargest(),),
    )
    assert (
        dump_pipeline(pipeline)
        == """\
name: ball
labels:
  ball: 1
  box: {value: 2, colour: "#ff0000"}
ignore: 9
preprocess:
  - spacing: {pixdim: [1, 1.5, 2]}
  - normalize_intensity
inference:
  - slices:
      model: {name: dynunet, spatial_dims: 2}
      window: [64, 64]
postprocess: [keep_largest]
"""
    )


def test_paths_may_be_written_relative_to_a_folder(tmp_path: Path) -> None:
    pipeline = plain_pipeline(output=tmp_path / "out", input=Input(path=tmp_path / "a/scans"))
    text = dump_pipeline(replace(pipeline, input=Input(path=Path("scans"))), tmp_path / "a")
    assert text == dump_pipeline(pipeline, tmp_path / "a")
    assert "path: scans" in text
    assert "output: ../out" in text
    (tmp_path / "a").mkdir()
    (tmp_path / "a/p.yaml").write_text(text)
    assert load_pipeline(tmp_path / "a/p.yaml") == pipeline


def test_a_step_of_no_table_cannot_be_written() -> None:
    class Mine(Step):
        pass

    with pytest.raises(ValueError, match="Mine is in no room's table"):
        dump_pipeline(plain_pipeline(preprocess=(Mine(),)))


def test_the_digest_knows_what_can_change_a_mask(tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"one")
    network = SlidingWindow(model=DynUNet(), weights=weights, window=(8, 8, 8))
    pipeline = plain_pipeline(inference=(network,))
    digest = pipeline_digest(pipeline)
    assert digest == pipeline_digest(pipeline)
    changes: list[dict[str, Any]] = [
        {"labels": Labels((Label("ball", (2,)),))},
        {"labels": Labels((Label("sphere", (1,)),))},
        {"preprocess": (NormalizeIntensity(),)},
        {"postprocess": (KeepLargest(),)},
        {"refine": (DenseCrf(),)},
        {"refine": (DenseCrf(iterations=6),)},
        {"postprocess": (Relabel({"ball": 3}),)},
        {"inference": (replace(network, overlap=0.25),)},
        {"inference": (replace(network, model=DynUNet(norm="batch")),)},
        {"inference": (network, network)},
        {"input": Input(nonfinite="fill")},
        {"input": Input(channels=("CT",))},
        {"deterministic": True},
    ]
    digests = [pipeline_digest(replace(pipeline, **change)) for change in changes]
    weights.write_bytes(b"two")
    digests.append(pipeline_digest(pipeline))
    weights.unlink()
    digests.append(pipeline_digest(pipeline))
    assert len({digest, *digests}) == len(digests) + 1


def test_the_digest_ignores_what_cannot_change_a_mask(tmp_path: Path) -> None:
    network = SlidingWindow(model=DynUNet(), window=(8, 8, 8))
    pipeline = plain_pipeline(inference=(network,))
    changes: list[dict[str, Any]] = [
        {"name": "other"},
        {"description": "other"},
        {"input": Input(path=tmp_path, reference=tmp_path, memory_gib=3.0, voxels=1e9)},
        {"output": tmp_path},
        {"metrics": ()},
        {"training": Training(patch=(8, 8, 8), max_epochs=1)},
        {"inference": (replace(network, device="cuda"),)},
    ]
    for change in changes:
        assert pipeline_digest(replace(pipeline, **change)) == pipeline_digest(pipeline)


def test_the_digest_knows_the_bytes_of_weights_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.safetensors").write_bytes(b"same")
    network = SlidingWindow(model=DynUNet(), window=(8, 8, 8))
    one, other = (
        plain_pipeline(inference=(replace(network, weights=tmp_path / n / "net.safetensors"),))
        for n in ("a", "b")
    )
    assert pipeline_digest(one) == pipeline_digest(other)


def test_the_digest_knows_the_inner_pipeline(tmp_path: Path) -> None:
    inner = tmp_path / "body.yaml"
    inner.write_text(dump_pipeline(plain_pipeline()))
    pipeline = plain_pipeline(within=Within(inner, margin_mm=3.0))
    digest = pipeline_digest(pipeline)
    assert digest != pipeline_digest(plain_pipeline())
    assert digest != pipeline_digest(replace(pipeline, within=Within(inner)))
    inner.write_text(dump_pipeline(plain_pipeline(description="means the same")))
    assert pipeline_digest(pipeline) == digest
    inner.write_text(dump_pipeline(plain_pipeline(inference=(Threshold(minimum=51.0),))))
    assert pipeline_digest(pipeline) != digest
