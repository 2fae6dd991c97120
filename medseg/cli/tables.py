"""What a person reads at the end: plain tables that line up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli.complaints import shown

if TYPE_CHECKING:
    from medseg.run.comparing import ComparisonSummary
    from medseg.run.crossvalidation import FoldsSummary
    from medseg.run.evaluate import EvaluationSummary
    from medseg.run.exported import ExportSummary
    from medseg.run.predict import Plan, RunSummary
    from medseg.run.readers import ReadersSummary
    from medseg.run.train import TrainSummary


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as lines: columns of numbers to the right, all others to the left."""
    table = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [all(map(_numeric, column[1:])) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]


def tell_run(summary: RunSummary) -> None:
    """Volumes and metrics by label, the studies that failed, and where everything is."""
    _tell_measures(summary.summary)
    states = [outcome.state for outcome in summary.outcomes]
    counts = [f"{states.count(s)} {s}" for s in ("done", "kept", "failed") if s in states]
    _tell_failures({o.name: str(o.error) for o in summary.failures})
    click.echo(f"{', '.join(counts)}: {shown(str(summary.output))}")


def tell_summary(summary: Mapping[str, Any]) -> None:
    """Volumes and metrics by label, and the codes of the studies that failed."""
    _tell_measures(summary)
    _tell_failures(summary["failed"])


def tell_evaluation(summary: EvaluationSummary) -> None:
    """Metrics by label, the studies that could not be compared, and where the tables are."""
    _tell_measures(summary.summary)
    _tell_failures({name: str(error) for name, error in summary.failures.items()})
    done = summary.summary["done"]
    failed = f", {len(summary.failures)} failed" if summary.failures else ""
    click.echo(f"{done} compared{failed}: {shown(str(summary.output))}")


def tell_comparison(summary: ComparisonSummary) -> None:
    """Each run's metrics, then the differences of pairs of runs with interval and p-value."""
    for name, one in summary.runs.items():
        click.echo(f"{shown(name)}:")
        tell_evaluation(one)
        click.echo()
    head = ("one", "other", "metric", "label", "n", "difference", "95 %", "", "p (Holm)")
    rows = [
        (
            *(str(one[key]) for key in ("one", "other", "metric", "label", "n")),
            *(_number(one[key], 4) for key in ("mean", "low", "high", "p_holm")),
        )
        for one in summary.differences
    ]
    for line in aligned([head, *rows]) if rows else ():
        click.echo(line)
    click.echo(f"{len(summary.runs)} runs compared: {shown(str(summary.output))}")


def tell_readers(summary: ReadersSummary) -> None:
    """By label and share, the model's agreement with readers beside that among readers."""
    said = summary.agreement
    head = ("label", "metric", "n", "model", "readers", "index", "95 %", "", "within the readers")
    rows = [
        (
            label,
            metric,
            str(one["n"]),
            *(_number(one[key], 4) for key in ("model", "readers", "index", "low", "high")),
            one["within"] or "-",
        )
        for label, metrics in said["among_readers"].items()
        for metric, one in metrics.items()
        if one is not None
    ]
    for line in aligned([head, *rows]) if rows else ():
        click.echo(line)
    _tell_failures({name: str(error) for name, error in summary.failures.items()})
    count = f"{said['studies']} studies, {len(said['readers'])} readers"
    click.echo(f"{count}: {shown(str(summary.output))}")


def tell_export(summary: ExportSummary) -> None:
    """The files, how near their logits are to torch's, and what should be known."""
    for file in summary.files:
        click.echo(shown(str(file)))
    for note in summary.notes:
        click.echo(f"note: {shown(note)}")
    click.echo(f"logits as torch's within {summary.largest_difference:.1e}")


def tell_training(summary: TrainSummary | FoldsSummary) -> None:
    """What came out of a training, and the command that uses it."""
    from medseg.run.crossvalidation import FoldsSummary

    if isinstance(summary, FoldsSummary):
        _tell_folds(summary)
        return
    if summary.dice:
        rows = [("label", "dice"), *((name, _number(v, 4)) for name, v in summary.dice.items())]
        for line in aligned(rows):
            click.echo(line)
    split = summary.split
    told = f"{summary.minutes:.1f} minutes, {summary.iterations} iterations"
    click.echo(f"{len(split.trained_on)} studies, {told}: {shown(str(summary.model))}")
    click.echo(f"medseg run {shown(str(summary.model))} --input SCANS")


def _tell_folds(summary: FoldsSummary) -> None:
    rows: list[tuple[str, ...]] = [("label", "metric", "mean", "low", "high", "n")]
    for label, metrics in summary.pooled.items():
        for metric, one in metrics.items():
            numbers = (_number(one[key], 4) for key in ("mean", "low", "high"))
            rows.append((label, metric, *numbers, str(one["n"])))
    for line in aligned(rows):
        click.echo(line)
    click.echo(f"{len(summary.folds)} folds, one model: {shown(str(summary.model))}")
    click.echo(f"medseg run {shown(str(summary.model))} --input SCANS")


def tell_plan(plan: Plan) -> None:
    """Each study and what would become of it."""
    tell_studies(plan.found, {name: "to do" if t else "kept" for name, t in plan.todo.items()})
    todo = sum(plan.todo.values())
    click.echo(f"{todo} to do, {len(plan.todo) - todo} kept: {shown(str(plan.output))}")


def tell_studies(found: Any, states: Mapping[str, str] | None = None) -> None:
    """The layout, its studies with their files, and the notes."""
    channels = max(len(study.images) for study in found.studies)
    columns = [f"image {n}" for n in range(1, channels + 1)] if channels > 1 else ["image"]
    with_masks = any(study.reference for study in found.studies)
    said = ["series"] if found.said else []
    head = ["study", *(["state"] if states else []), *said, *columns, *(["reference"] * with_masks)]
    rows = [
        [
            study.name,
            *([states[study.name]] if states else []),
            *([found.said.get(study.name, "-")] if said else []),
            *(str(path) for path in study.images),
            *([str(study.reference or "-")] * with_masks),
        ]
        for study in found.studies
    ]
    for line in aligned([head, *rows]):
        click.echo(line)
    _tell_found(found)


def tell_series(found: Any) -> None:
    """Each DICOM stack, where it lies and whether it would be read, and the codes in full."""
    from medseg.io.dicom.sighting import sighted

    seen = [(study, sighted(pile)) for study in found.studies for pile in found.piles[study.name]]
    above = Path(commonpath([study.images[0].folder for study, _ in seen]))
    with_masks = any(study.reference for study, _ in seen)
    head = ["study", "series", "voxels", "mm", "state", "folder", *(["reference"] * with_masks)]
    rows = [
        [
            *(study.name, one.series, one.size, one.voxel_mm, one.state),
            str(study.images[0].folder.relative_to(above)),
            *([Path(study.reference).name if study.reference else "-"] * with_masks),
        ]
        for study, one in seen
    ]
    for line in aligned([head, *rows]):
        click.echo(line)
    click.echo(f"folders are below {shown(str(above))}")
    for study, one in seen:
        if one.told:
            click.echo(f"{study.name}: {one.state}: {shown(one.told)}")
    _tell_found(found)


def _tell_found(found: Any) -> None:
    for note in found.notes:
        click.echo(shown(note))
    masks = sum(study.reference is not None for study in found.studies)
    count = "1 study" if len(found.studies) == 1 else f"{len(found.studies)} studies"
    click.echo(f"{count} found as {found.layout}, {masks} with a reference")


def tell_descriptions(found: Mapping[str, str]) -> None:
    """What series and drawings are called by those who made them."""
    for line in aligned([("study or file", "description"), *found.items()]):
        click.echo(line)


def _tell_measures(summary: Mapping[str, Any]) -> None:
    volumes, metrics = summary["mean_volume_ml"], summary["metrics"]
    names = list(dict.fromkeys(name for by_metric in metrics.values() for name in by_metric))
    # One count says it all where every metric of a label has as many values.
    once = all(len({one["n"] for one in found.values()}) == 1 for found in metrics.values())
    counted = names[-1:] if once else names
    head = ["label", "mean ml"]
    for name in names:
        head += [name, "n"] if name in counted else [name]
    rows = [
        [label, _number(volumes.get(label), 3), *_cells(metrics.get(label, {}), names, counted)]
        for label in dict.fromkeys([*volumes, *metrics])
    ]
    for line in aligned([head, *rows]) if rows else ():
        click.echo(line)


def _cells(of_label: Mapping[str, Any], names: Sequence[str], counted: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        one = of_label.get(name, {"mean": None, "n": 0})
        cells += [_number(one["mean"], 4), *([str(one["n"])] if name in counted else [])]
    return cells


def _tell_failures(errors: Mapping[str, str]) -> None:
    if not errors:
        return
    click.echo()
    for name, said in errors.items():
        click.echo(f"{shown(name)}: {shown(said)}")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _numeric(cell: str) -> bool:
    return cell == "-" or cell.replace(".", "", 1).replace("-", "", 1).isdecimal()
