"""Files to pipelines, sites and label tables; every mistake of a file is told at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from medseg.errors import Complaint, ModelError, PipelineError
from medseg.image import Labels
from medseg.models.checkpoint import weights_file
from medseg.pipeline.builder import BROKEN, Builder, Spot
from medseg.pipeline.checks import check_whole, check_within
from medseg.pipeline.labels import build_labels
from medseg.pipeline.parts import Pipeline, Site
from medseg.pipeline.settings import with_settings
from medseg.pipeline.source import Source, Table, parse, read_source

PIPELINE_FILE = "pipeline.yaml"
"""What a model folder's pipeline is called."""


def load_pipeline(path: str | Path, settings: Sequence[str] = ()) -> Pipeline:
    """The pipeline of a YAML file or of a model folder; ``settings`` are key.path=value.

    Relative paths start at the file's folder; those in settings at the working folder.
    Raises PipelineError with a complaint for every mistake.
    """
    return _pipeline(Path(path), settings, ())


def load_site(path: str | Path) -> Site:
    """The site of a YAML file. Raises PipelineError with a complaint for every mistake."""
    site: Site = _loaded(read_source(Path(path)), (), _site)
    return site


def load_labels(path: str | Path) -> Labels:
    """The label table of a YAML file with ``labels:`` and, where there is one, ``ignore:``.

    Raises PipelineError with a complaint for every mistake.
    """
    labels: Labels = _loaded(read_source(Path(path)), (), _only_labels)
    return labels


def pipeline_file(path: Path) -> Path:
    """The YAML file of a pipeline or of a model folder; PipelineError where there is none."""
    if not path.is_dir():
        return path
    if (path / PIPELINE_FILE).exists():
        return path / PIPELINE_FILE
    raise PipelineError("E_NOT_FOUND", f"is a folder without {PIPELINE_FILE}, so no model", path)


def check_ready(pipeline: Pipeline) -> None:
    """Whether every network has its weights, those of ``within`` too.

    Raises ModelError E_CHECKPOINT where a weights file is not named or not there.
    """
    for step in pipeline.inference:
        if not is_dataclass(step) or "weights" not in {one.name for one in fields(step)}:
            continue
        weights = getattr(step, "weights", None)
        if weights is None:
            raise ModelError(
                "E_CHECKPOINT", f"'{pipeline.name}' names no weights; train it, or take its model"
            )
        path = weights_file(weights)
        if not path.is_file():
            raise ModelError("E_CHECKPOINT", "there is no such weights file; train first", path)
    if pipeline.within is not None:
        check_ready(load_pipeline(pipeline.within.pipeline))


def _loaded(source: Source, settings: Sequence[str], build: Callable[[Builder, Table], Any]) -> Any:
    """What ``build`` makes of the source's only mapping, or all complaints together."""
    root, complaints = parse(source)
    root, wrong = with_settings(root, settings)
    builder = Builder(complaints=[*complaints, *wrong])
    result: Any = BROKEN
    if isinstance(root, Table):
        result = build(builder, root)
    elif root is not None:
        builder.complain(root, "yaml", "the file is a mapping of options, 'key: value'")
    if builder.complaints or result is BROKEN:
        raise _refusal(source, builder.complaints)
    return result


def _refusal(source: Source, complaints: list[Complaint]) -> PipelineError:
    ordered = sorted(
        dict.fromkeys(complaints), key=lambda one: (one.path == "--set", one.line, one.column)
    )
    count = f"{len(ordered)} mistakes" if len(ordered) > 1 else "one mistake"
    first = f", the first: {ordered[0]}" if len(ordered) > 1 else f": {ordered[0]}"
    return PipelineError("E_CONFIG", count + first, source.name, tuple(ordered))


def _pipeline(path: Path, settings: Sequence[str], outer: tuple[str, ...]) -> Pipeline:
    file = pipeline_file(path)
    chain = (*outer, os.path.realpath(file))

    def build(builder: Builder, root: Table) -> Any:
        labels = build_labels(builder, root)
        spot = Spot(root, "", "pipeline", ("ignore",))
        result = builder.made(Pipeline, spot, root.entries, {"labels": labels})
        check_whole(builder, root)
        _check_inner(builder, chain)
        return result

    pipeline: Pipeline = _loaded(read_source(file), settings, build)
    return pipeline


def _check_inner(builder: Builder, chain: tuple[str, ...]) -> None:
    """The pipeline that ``within`` names is right itself, and never this one again."""
    path = builder.built.get("within.pipeline")
    if not isinstance(path, Path):
        return
    node, at = builder.places["within.pipeline"], "within.pipeline"
    try:
        if os.path.realpath(pipeline_file(path)) in chain:
            builder.complain(node, at, "leads back to this pipeline")
            return
        inner = _pipeline(path, (), chain)
    except PipelineError as error:
        builder.complain(node, at, str(error))
        return
    check_within(builder, inner.labels)


def _site(builder: Builder, root: Table) -> Any:
    return builder.made(Site, Spot(root, "", "site"), root.entries)


def _only_labels(builder: Builder, root: Table) -> Any:
    labels = build_labels(builder, root)
    for name, entry in root.entries.items():
        if name not in ("labels", "ignore"):
            builder.complain(entry.key, name, "a file of labels has 'labels' and 'ignore' only")
    return labels
