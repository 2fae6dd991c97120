"""The verbs as one calls them from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.studies import ball_studies

import medseg
import medseg.run.events
from medseg.errors import PipelineError
from medseg.pipeline import Site
from medseg.run import verbs


@pytest.fixture
def balls(tmp_path: Path) -> Path:
    return ball_studies(tmp_path, 2)


def test_the_package_itself_is_the_verb(balls: Path, tmp_path: Path) -> None:
    result = medseg.run(str(balls), output=tmp_path / "out")
    assert [outcome.state for outcome in result.outcomes] == ["done", "done"]
    assert result.output == tmp_path / "out"
    # The room of the same name has been imported by now, and the verb is still there.
    again = medseg.run(medseg.load_pipeline(balls), output=str(tmp_path / "out"))
    assert [outcome.state for outcome in again.outcomes] == ["kept", "kept"]


def test_another_input_brings_its_own_references(balls: Path, tmp_path: Path) -> None:
    pipeline = verbs.asked(balls, input=tmp_path / "labels")
    assert pipeline.input.path == tmp_path / "labels"
    assert pipeline.input.reference is None
    assert verbs.asked(balls).input.reference == tmp_path / "labels"
    assert verbs.asked(balls, input="a", reference="b").input.reference == Path("b")
    assert verbs.asked(balls, ["output=x"]).output == Path.cwd() / "x"


def test_a_site_may_be_a_file(balls: Path, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("threads: 0")
    with pytest.raises(PipelineError, match="threads is at least 1"):
        medseg.run(balls, site=tmp_path / "site.yaml")
    (tmp_path / "site.yaml").write_text("device: cpu")
    for site in (tmp_path / "site.yaml", Site("cpu")):
        assert not medseg.run(balls, output=tmp_path / "out", site=site).failures


def test_masks_are_compared_by_the_labels_of_a_pipeline_or_of_a_file(
    balls: Path, tmp_path: Path
) -> None:
    masks = tmp_path / "labels"
    (tmp_path / "names.yaml").write_text("labels: {sphere: 1}")
    by_value = medseg.evaluate(masks, masks, tmp_path / "a")
    by_pipeline = medseg.evaluate(masks, masks, tmp_path / "b", pipeline=balls)
    by_file = medseg.evaluate(masks, masks, tmp_path / "c", labels=tmp_path / "names.yaml")
    found = [list(one.summary["metrics"]) for one in (by_value, by_pipeline, by_file)]
    assert found == [["1"], ["ball"], ["sphere"]]


def test_training_asks_for_a_recipe(balls: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="training wants a 'training:' section"):
        medseg.train(balls, tmp_path / "model", folds=tmp_path / "folds.json", fold=0)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segment_everything'"):
        _ = medseg.segment_everything
    assert "run" in dir(medseg)
    assert medseg.find_studies is not None
