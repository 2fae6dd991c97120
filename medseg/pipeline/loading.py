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
from medseg.pipeline.bundle import bundle_config, translated_bundle
from medseg.pipeline.checks import check_whole, check_within
from medseg.pipeline.labels import build_labels
from medseg.pipeline.nnunet import PLANS, is_nnunet, meant_instead, translated
from medseg.pipeline.parts import Pipeline, Site
from medseg.pipeline.settings import with_settings
from medseg.pipeline.source import Source, Table, parse, read_source

PIPELINE_FILE = "pipeline.yaml"
"""What a model folder's pipeline is called."""


def load_pipeline(path: str | Path, settings: Sequence[str] = ()) -> Pipeline:
    """The pipeline of a YAML file or of a model folder; ``settings`` are key.path=value.

    A folder is one that medseg trained, one of nnU-Net v2, or a bundle of MONAI. Relative paths
    start at the file's folder; those in settings at the working folder. Raises PipelineError with
    a complaint for every mistake, ModelError where another project's model cannot be taken.
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
    """The file that describes a pipeline or a model folder; PipelineError where there is none."""
    if not path.is_dir():
        return path
    if (path / PIPELINE_FILE).exists():
        return path / PIPELINE_FILE
    if is_nnunet(path):
        return path / PLANS
    if (config := bundle_config(path)) is not None:
        return config
    told = f"is a folder without {PIPELINE_FILE}, or what nnU-Net or MONAI describe models by"
    raise PipelineError("E_NOT_FOUND", told + meant_instead(path), path)


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
    for inner in (pipeline.within, pipeline.previous):
        if inner is not None:
            check_ready(load_pipeline(inner.pipeline))


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
        for part in ("within", "previous"):
            _check_inner(builder, part, chain)
        return result

    pipeline: Pipeline = _loaded(_source(path, file), settings, build)
    return pipeline


def _source(path: Path, file: Path) -> Source:
    """The text of a pipeline: of its file, or what another project's model folder means."""
    if file == path or file.name == PIPELINE_FILE:
        return read_source(file)
    return translated(path) if file.name == PLANS else translated_bundle(file)


def _check_inner(builder: Builder, part: str, chain: tuple[str, ...]) -> None:
    """The pipeline that ``within`` or ``previous`` names is right, and never this one again."""
    at = f"{part}.pipeline"
    path = builder.built.get(at)
    if not isinstance(path, Path):
        return
    node = builder.places[at]
    try:
        if os.path.realpath(pipeline_file(path)) in chain:
            builder.complain(node, at, "leads back to this pipeline")
            return
        inner = _pipeline(path, (), chain)
    except (PipelineError, ModelError) as error:
        builder.complain(node, at, str(error))
        return
    if part == "within":
        check_within(builder, inner.labels)


def _site(builder: Builder, root: Table) -> Any:
    return builder.made(Site, Spot(root, "", "site"), root.entries)


def _only_labels(builder: Builder, root: Table) -> Any:
    labels = build_labels(builder, root)
    for name, entry in root.entries.items():
        if name not in ("labels", "ignore"):
            builder.complain(entry.key, name, "a file of labels has 'labels' and 'ignore' only")
    return labels
