"""The verbs as one calls them from Python: paths or pipelines in, summaries out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.pipeline import Pipeline, Site, load_labels, load_pipeline, load_site
from medseg.run.events import Watch, unheard

if TYPE_CHECKING:
    from medseg.io import ReadOptions
    from medseg.metrics.measure import BothEmpty
    from medseg.run.convert import Conversion
    from medseg.run.crossvalidation import FoldsSummary
    from medseg.run.evaluate import Asked, EvaluationSummary
    from medseg.run.export import Target
    from medseg.run.exported import ExportSummary
    from medseg.run.plan import PlanSummary
    from medseg.run.predict import RunSummary
    from medseg.run.train import TrainSummary
    from medseg.run.wishes import Wish

Named = str | Path
_USUAL = ("dice", "iou", "volume_difference", "hd95", "assd", "nsd")


def asked(
    pipeline: Pipeline | Named,
    settings: Sequence[str] = (),
    *,
    input: Named | None = None,
    reference: Named | None = None,
    output: Named | None = None,
) -> Pipeline:
    """A pipeline with other scans, references or output than its file says.

    With another ``input`` the file's own references no longer count. Raises PipelineError.
    """
    loaded = pipeline if isinstance(pipeline, Pipeline) else load_pipeline(Path(pipeline), settings)
    where = loaded.input
    if input is not None:
        where = replace(where, path=Path(input), reference=None)
    if reference is not None:
        where = replace(where, reference=Path(reference))
    loaded = replace(loaded, input=where)
    return loaded if output is None else loaded.writing_to(Path(output))


def run(  # noqa: PLR0913 - as many as the command line has
    pipeline: Pipeline | Named,
    *,
    input: Named | None = None,
    reference: Named | None = None,
    output: Named | None = None,
    site: Site | Named | None = None,
    overwrite: bool = False,
    shard: str | None = None,
    watch: Watch = unheard,
) -> RunSummary:
    """Segment scans by a pipeline, a YAML file or a model folder; as ``medseg run`` does.

    ``shard`` is one of several, such as 3/8, or any: ``medseg.run.whole.merge`` makes the tables.
    Raises MedsegError where nothing can be started; a study's own failure is in its outcome.
    """
    from medseg.run.predict import predict
    from medseg.run.shards import Shard

    chosen = asked(pipeline, input=input, reference=reference, output=output)
    part = None if shard is None else Shard.named(shard)
    return predict(chosen, _site(site), overwrite=overwrite, shard=part, watch=watch)


def train(  # noqa: PLR0913 - as many as the command line has
    pipeline: Pipeline | Named,
    model: Named,
    *,
    input: Named | None = None,
    reference: Named | None = None,
    folds: Named | None = None,
    fold: str | int | None = None,
    site: Site | Named | None = None,
    tensorboard: bool = False,
    watch: Watch = unheard,
) -> TrainSummary | FoldsSummary:
    """Train a pipeline's network and write the folder ``model``; as ``medseg train`` does.

    ``fold`` is held out; without one, every study is trained on. ``all`` trains every fold in
    turn, and ``model`` becomes their ensemble. Raises MedsegError.
    """
    from medseg.run.crossvalidation import train_folds
    from medseg.run.folds import ALL
    from medseg.run.train import Options
    from medseg.run.train import train as trained

    chosen = asked(pipeline, input=input, reference=reference)
    if folds is not None and chosen.training is not None:
        chosen = replace(chosen, training=replace(chosen.training, folds=Path(folds)))
    held_out = None if fold is None else str(fold)
    where, options = _site(site), Options(tensorboard=tensorboard)
    if held_out == ALL:
        return train_folds(chosen, Path(model), where, options=options, watch=watch)
    return trained(chosen, Path(model), where, fold=held_out, options=options, watch=watch)


def plan(  # noqa: PLR0913 - as many as the command line has
    data: Named,
    wish: Wish,
    *,
    name: str | None = None,
    reference: Named | None = None,
    channels: Sequence[str] = ("image",),
    labels: Named | None = None,
    watch: Watch = unheard,
) -> PlanSummary:
    """Audit a data set and plan a pipeline for it; as ``medseg plan`` does.

    Labels are those of a YAML file, or those that the data set names, or every value of its
    masks. Raises MedsegError.
    """
    from medseg.run.audit import Where
    from medseg.run.plan import plan as made

    place = Where(Path(data), None if reference is None else Path(reference), tuple(channels))
    table = None if labels is None else load_labels(Path(labels))
    called = name or place.path.resolve().name.partition(".")[0] or "planned"
    return made(place, called, wish, table, watch)


def evaluate(
    predictions: Named,
    references: Named,
    output: Named,
    *,
    pipeline: Pipeline | Named | None = None,
    labels: Named | None = None,
    watch: Watch = unheard,
    **options: Any,
) -> EvaluationSummary:
    """Compare masks with references of the same names; as ``medseg evaluate`` does.

    Labels, metrics and ``options`` are those of ``how_to_evaluate``. Raises MedsegError.
    """
    from medseg.run.evaluate import evaluated

    how = how_to_evaluate(pipeline, labels, **options)
    return evaluated(Path(predictions), Path(references), how, Path(output), watch)


def how_to_evaluate(
    pipeline: Pipeline | Named | None = None,
    labels: Named | None = None,
    *,
    metrics: Sequence[str] = (),
    both_empty: BothEmpty | None = None,
    flags: bool = False,
    table: Named | None = None,
    **options: Any,
) -> Asked:
    """Labels and metrics of a pipeline, or the labels of a YAML file; what is known of studies.

    Without either every value in a mask is a label. ``metrics`` are names of ``medseg steps
    metrics`` with their defaults; without them the pipeline's, or Dice, IoU, the difference of
    volumes, HD95, ASSD and NSD; ``both_empty`` is asked of all of them. ``flags`` asks for
    those of the pipeline's ``quality``, or the usual ones. ``table`` is a CSV of studies; the other
    options are those of ``Asked``. Raises PipelineError, ValueError for names there are not.
    """
    from medseg.metrics import METRICS, Metric, Quality
    from medseg.run.evaluate import Asked
    from medseg.step import steps_of

    chosen = asked(pipeline) if pipeline is not None else None
    known = steps_of("metrics", METRICS)
    for name in metrics:
        if name not in known:
            raise ValueError(f"metrics: there is no {name!r}; there are {', '.join(known)}")
    named = tuple(known[name]() for name in metrics or (() if chosen else _USUAL))
    found = load_labels(Path(labels)) if labels is not None else None
    wanted = named or (chosen.metrics if chosen else ())
    if both_empty is not None:
        wanted = tuple(
            replace(one, both_empty=both_empty) if isinstance(one, Metric) else one
            for one in wanted
        )
    if flags:
        options["quality"] = chosen.quality if chosen else Quality()
    return Asked(
        wanted,
        found or (chosen.labels if chosen else None),
        table=None if table is None else Path(table),
        read=_reading(chosen),
        **options,
    )


def _reading(pipeline: Pipeline | None) -> ReadOptions:
    """How a pipeline reads scans and masks, wherever they are."""
    from medseg.io import ReadOptions

    if pipeline is None:
        return ReadOptions()
    names = [one.name for one in fields(ReadOptions)]
    return ReadOptions(**{name: getattr(pipeline.input, name) for name in names})


def conversion(
    to: str,
    *,
    pipeline: Named | None = None,
    labels: Named | None = None,
    channels: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> Conversion:
    """What ``medseg convert`` is asked for: labels, channels and options from files."""
    from medseg.io import ReadOptions
    from medseg.run.convert import Conversion

    chosen = asked(pipeline) if pipeline is not None else None
    table = load_labels(Path(labels)) if labels is not None else None
    named = tuple(channels) or (chosen.input.channels if chosen else ("image",))
    return Conversion(
        to,
        labels=table or (chosen.labels if chosen else None),
        options=chosen.input if chosen else ReadOptions(),
        channels=named,
        **(more or {}),
    )


def export(pipeline: Pipeline | Named, output: Named, to: Target) -> ExportSummary:
    """Write a trained pipeline's networks for other programs; as ``medseg export`` does.

    Raises MedsegError where there is no network, or the program cannot take it.
    """
    from medseg.run.export import export as exported

    return exported(asked(pipeline), Path(output), to)


def _site(site: Site | Named | None) -> Site | None:
    return load_site(Path(site)) if isinstance(site, str | Path) else site
