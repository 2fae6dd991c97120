"""The verbs as one calls them from Python: paths or pipelines in, summaries out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.pipeline import Pipeline, Site, load_labels, load_pipeline, load_site
from medseg.run.events import Watch, unheard

if TYPE_CHECKING:
    from medseg.run.evaluate import EvaluationSummary
    from medseg.run.export import Target
    from medseg.run.exported import ExportSummary
    from medseg.run.predict import RunSummary
    from medseg.run.train import TrainSummary

Named = str | Path


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
    return loaded if output is None else replace(loaded, output=Path(output))


def run(  # noqa: PLR0913 - as many as the command line has
    pipeline: Pipeline | Named,
    *,
    input: Named | None = None,
    reference: Named | None = None,
    output: Named | None = None,
    site: Site | Named | None = None,
    overwrite: bool = False,
    watch: Watch = unheard,
) -> RunSummary:
    """Segment scans by a pipeline, a YAML file or a model folder; as ``medseg run`` does.

    Raises MedsegError where nothing can be started; a study's own failure is in its outcome.
    """
    from medseg.run.predict import predict

    chosen = asked(pipeline, input=input, reference=reference, output=output)
    return predict(chosen, _site(site), overwrite=overwrite, watch=watch)


def train(  # noqa: PLR0913 - as many as the command line has
    pipeline: Pipeline | Named,
    model: Named,
    *,
    input: Named | None = None,
    reference: Named | None = None,
    folds: Named | None = None,
    fold: str | int | None = None,
    site: Site | Named | None = None,
    watch: Watch = unheard,
) -> TrainSummary:
    """Train a pipeline's network and write the folder ``model``; as ``medseg train`` does.

    ``fold`` is held out; without one, every study is trained on. Raises MedsegError.
    """
    from medseg.run.train import train as trained

    chosen = asked(pipeline, input=input, reference=reference)
    if folds is not None and chosen.training is not None:
        chosen = replace(chosen, training=replace(chosen.training, folds=Path(folds)))
    held_out = None if fold is None else str(fold)
    return trained(chosen, Path(model), _site(site), fold=held_out, watch=watch)


def evaluate(
    predictions: Named,
    references: Named,
    output: Named,
    *,
    pipeline: Pipeline | Named | None = None,
    labels: Named | None = None,
    watch: Watch = unheard,
) -> EvaluationSummary:
    """Compare masks with references of the same names; as ``medseg evaluate`` does.

    Labels and metrics are those of a pipeline, or the labels of a YAML file; without either,
    every value in a reference is a label. Raises MedsegError.
    """
    from medseg.metrics import Dice, Iou
    from medseg.run.evaluate import evaluate as evaluated

    chosen = asked(pipeline) if pipeline is not None else None
    table = load_labels(Path(labels)) if labels is not None else None
    return evaluated(
        Path(predictions),
        Path(references),
        table or (chosen.labels if chosen else None),
        metrics=chosen.metrics if chosen else (Dice(), Iou()),
        output=Path(output),
        watch=watch,
    )


def export(pipeline: Pipeline | Named, output: Named, to: Target) -> ExportSummary:
    """Write a trained pipeline's networks for other programs; as ``medseg export`` does.

    Raises MedsegError where there is no network, or the program cannot take it.
    """
    from medseg.run.export import export as exported

    return exported(asked(pipeline), Path(output), to)


def _site(site: Site | Named | None) -> Site | None:
    return load_site(Path(site)) if isinstance(site, str | Path) else site
