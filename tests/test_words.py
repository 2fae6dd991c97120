"""One word, four places; and every word that the project shows to a reader is a true one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import torch
from conftest import REPOSITORY
from support.networks import OPTIONAL, there

from medseg.cli import main
from medseg.inference import INFERENCE, REFINE
from medseg.metrics import METRICS
from medseg.models import MODELS
from medseg.pipeline import Pipeline, load_pipeline, load_site, rooms
from medseg.postprocess import POSTPROCESS
from medseg.preprocess import PREPROCESS
from medseg.training import AUGMENTATION, Training

PAGES = sorted({REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md")})
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Every ``medseg ...`` of a page's shell blocks, without comments and redirections."""
    found = []
    for language, block in FENCED.findall(page.read_text("utf-8")):
        if language not in ("bash", "sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||;|\|", line):
                words = part.strip().removeprefix("$ ")
                if words.startswith("medseg"):
                    found.append(re.sub(r"\s>\s.*|\s+#.*", "", words))
    return found


SHOWN = [(page.name, line) for page in PAGES for line in commands(page)]


def parsed(words: list[str]) -> click.Context:
    """The context that click makes of the words, to the innermost command; nothing is run."""
    with main.make_context("medseg", list(words)) as outer:
        name, command, rest = main.resolve_command(outer, words)
        assert command is not None
        return command.make_context(name, rest, parent=outer)


def test_the_readme_shows_commands() -> None:
    verbs = {line.split()[1] for name, line in SHOWN if name == "README.md"}
    assert {"run", "train", "check", "ls"} <= verbs


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[line for _, line in SHOWN])
def test_every_command_on_a_page_exists_with_its_options(page: str, line: str) -> None:
    assert parsed(shlex.split(line)[1:]) is not None


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parsed(["run", "p.yaml", "--inptu", "x"])
    with pytest.raises(click.UsageError):
        parsed(["runn"])


@pytest.mark.parametrize("line", [line for _, line in SHOWN if ".yaml" in line], ids=str)
def test_pipelines_that_a_page_names_are_there(line: str) -> None:
    for word in shlex.split(line):
        if word.startswith(("pipelines/", "configs/")):
            assert (REPOSITORY / word).is_file(), word


PIPELINES = sorted((REPOSITORY / "pipelines").rglob("*.yaml"))
SITES = sorted((REPOSITORY / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_every_pipeline_of_the_project_loads(path: Path) -> None:
    pipeline = load_pipeline(path)
    assert pipeline.name == path.stem
    assert pipeline.description


def test_every_network_has_a_section_and_a_picture() -> None:
    page = (REPOSITORY / "docs/models.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert MODELS.keys() <= sections.keys()
    for name, text in sections.items():
        for picture in re.findall(r"\((pictures/[^)]+)\)", text):
            assert (REPOSITORY / "docs" / picture).is_file(), picture
        # Networks of other packages are drawn there.
        assert name not in MODELS or name in OPTIONAL or f"models/{name}.svg" in text


def test_every_network_is_named_by_a_pipeline_of_its_family() -> None:
    """Either it is the one that the pipeline has, or one that can be had in its place."""
    told = [re.sub(r"\s+", " ", path.read_text("utf-8")) for path in PIPELINES]
    for name in MODELS:
        shown = (f"name: {name} ", f"name: {name},", f"name: {name}}}", f"'{name}'")
        assert any(one in text for text in told for one in shown), name


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_network_of_every_pipeline_takes_its_windows(path: Path) -> None:
    """Followed through every layer on the meta device, where nothing is computed."""
    pipeline = load_pipeline(path)
    for step in pipeline.inference:
        if not there(step.model.name):
            pytest.skip("the package that it is of is not here")
        with torch.device("meta"), torch.no_grad():
            count = len(pipeline.input.channels)
            module = step.model.without_download()(count, pipeline.labels.channels)
            image = torch.empty(1, count, *step.window)
            assert module.eval()(image).shape[2:] == step.window


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_every_site_of_the_project_loads(path: Path) -> None:
    load_site(path)


def test_there_are_pipelines_and_sites() -> None:
    assert {path.stem for path in PIPELINES} >= {"hippocampus"}
    there = {"laptop", "workstation", "several_gpus", "slurm_array", "dask_slurm"}
    assert {path.stem for path in SITES} == there


PIPELINE_ROOMS = {
    "preprocess": PREPROCESS,
    "inference": INFERENCE,
    "postprocess": POSTPROCESS,
    "metrics": METRICS,
}


@pytest.mark.parametrize("room", PIPELINE_ROOMS)
def test_one_word_is_the_key_the_folder_the_table_and_the_module(room: str) -> None:
    assert room in Pipeline.__dataclass_fields__
    assert (REPOSITORY / "medseg" / room / "__init__.py").is_file()
    assert rooms.ROOMS[room] == f"medseg.{room}"
    assert PIPELINE_ROOMS[room].items() <= rooms.table(room).items()


def test_the_other_tables_are_known_by_their_words_too() -> None:
    assert "augmentation" in Training.__dataclass_fields__
    assert AUGMENTATION.items() <= rooms.table("augmentation").items()
    assert MODELS.items() <= rooms.table("models").items()
    assert "refine" in Pipeline.__dataclass_fields__
    assert REFINE.items() <= rooms.table("refine").items()
    assert set(rooms.ROOMS) == {*PIPELINE_ROOMS, "refine", "augmentation", "models"}


@pytest.mark.parametrize("room", rooms.ROOMS)
def test_names_in_yaml_are_the_classes_names(room: str) -> None:
    for name, cls in rooms.table(room).items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert cls.__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("room", rooms.ROOMS)
def test_every_step_says_what_it_does_in_a_sentence(room: str) -> None:
    for name, cls in rooms.table(room).items():
        text = cls.__doc__ or ""
        assert text, name
        assert not text.startswith(f"{cls.__name__}("), name
        assert "." in text.partition("\n\n")[0], name


def test_yaml_blocks_of_the_readme_that_begin_with_a_name_load(tmp_path: Path) -> None:
    blocks = [
        text
        for language, text in FENCED.findall((REPOSITORY / "README.md").read_text("utf-8"))
        if language == "yaml" and text.startswith("name:")
    ]
    assert blocks
    for number, text in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        load_pipeline(path)
