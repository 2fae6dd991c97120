"""The command that compares masks: one run, several runs, or a model among readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli.options import ANY_PATH

if TYPE_CHECKING:
    from medseg.run.evaluate import Asked

FAILED = 1


class _WithReaders(click.Command):
    """Several readers may follow one ``--references``: a=DIR b=DIR."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each reader that follows the first."""
        told: list[str] = []
        reading = False
        for place, word in enumerate(args):
            if reading and "=" in word and not word.startswith("-") and "=" in args[place - 1]:
                told += ["--references", word]
                continue
            reading = word == "--references" or (reading and args[place - 1] == "--references")
            told.append(word)
        return super().parse_args(ctx, told)


@click.command(cls=_WithReaders)
@click.argument("runs", nargs=-1, metavar="[[NAME=]MASKS]...")
@click.option("--predictions", type=ANY_PATH, help="Masks of any tool; as MASKS.")
@click.option("--reference", type=ANY_PATH, help="Masks of the same names.")
@click.option(
    "--references",
    multiple=True,
    metavar="[NAME=]PATH",
    help="As --reference; several readers as a=DIR b=DIR.",
)
@click.option("--pipeline", type=ANY_PATH, help="Labels and metrics of this pipeline.")
@click.option("--labels", type=ANY_PATH, help="A YAML file with 'labels:' and 'ignore:'.")
@click.option("--metrics", default="", metavar="NAME,...", help="Of 'medseg steps metrics'.")
@click.option("--table", type=ANY_PATH, help="A CSV of studies: patient, and columns for --by.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Results by this column as well.")
@click.option("--patient", default="patient", metavar="COLUMN", help="Which studies are of one.")
@click.option("--instances", is_flag=True, help="Write instances.csv, a line for each lesion.")
@click.option("--instance-masks", is_flag=True, help="And a mask of them for each study.")
@click.option(
    "--both-empty",
    type=click.Choice(["exclude", "one"]),
    help="What a label is worth that neither mask has: nothing, or full agreement.",
)
@click.option(
    "--flags",
    is_flag=True,
    help="Flag odd predictions, as --pipeline says.",
)
@click.option("--scans", type=ANY_PATH, help="The scans of the masks, for a report to show.")
@click.option("--report", is_flag=True, help="Write pages as well: OUTPUT/report/index.html.")
@click.option("--jobs", type=click.IntRange(1), help="Studies at once; as many as cores.")
@click.option("--output", type=ANY_PATH, required=True, help="The folder that takes the tables.")
@click.pass_context
def evaluate(ctx: click.Context, /, output: Path, **said: Any) -> None:
    """Compare masks of any tool with references: overlap, distances and volumes by label.

    One folder of MASKS is evaluated; several are compared with each other study by study; with
    several --references the model is placed among the readers. Without --pipeline or --labels
    every value in a mask is a label of its own.
    """
    if said["pipeline"] is not None and said["labels"] is not None:
        raise click.UsageError("--pipeline and --labels both name the labels; give one")
    runs = [*([str(said["predictions"])] if said["predictions"] else []), *said["runs"]]
    if not runs:
        raise click.UsageError("no masks to compare; name their folder")
    references = [*([str(said["reference"])] if said["reference"] else []), *said["references"]]
    if not references:
        raise click.UsageError("nothing to compare with; give --reference")
    if said["report"]:
        from medseg.run.report import check_packages

        check_packages()
    how = _how(said)
    if len(references) > 1:
        failed = _among_readers(runs, references, how, output)
    elif len(runs) > 1:
        failed = _several(runs, Path(references[0]), how, output)
    else:
        failed = _one(runs[0], Path(references[0]), how, output)
    if said["report"]:
        from medseg.cli.report import tell_written

        tell_written(output)
    if failed:
        ctx.exit(FAILED)


def _how(said: dict[str, Any]) -> Asked:
    from medseg.metrics import Lesions
    from medseg.run.verbs import how_to_evaluate

    try:
        return how_to_evaluate(
            said["pipeline"],
            said["labels"],
            metrics=[name.strip() for name in said["metrics"].split(",") if name.strip()],
            table=said["table"],
            by=tuple(said["by"]),
            patient=said["patient"],
            jobs=said["jobs"],
            lesions=Lesions() if said["instances"] or said["instance_masks"] else None,
            instance_masks=said["instance_masks"],
            both_empty=said["both_empty"],
            flags=said["flags"],
            scans=said["scans"],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _one(run: str, reference: Path, how: Asked, output: Path) -> bool:
    from medseg.cli.progress import watching
    from medseg.cli.tables import tell_evaluation
    from medseg.run.comparing import named_runs
    from medseg.run.evaluate import evaluated

    (path,) = named_runs([run]).values() if "=" in run else (Path(run),)
    with watching() as watch:
        summary = evaluated(path, reference, how, output, watch)
    tell_evaluation(summary)
    return bool(summary.failures)


def _several(runs: Sequence[str], reference: Path, how: Asked, output: Path) -> bool:
    from medseg.cli.progress import watching
    from medseg.cli.tables import tell_comparison
    from medseg.run.comparing import evaluate_runs, named_runs

    with watching() as watch:
        summary = evaluate_runs(named_runs(runs), reference, how, output, watch)
    tell_comparison(summary)
    return any(one.failures for one in summary.runs.values())


def _among_readers(
    runs: Sequence[str], references: Sequence[str], how: Asked, output: Path
) -> bool:
    from medseg.cli.progress import watching
    from medseg.cli.tables import tell_readers
    from medseg.run.comparing import named_runs
    from medseg.run.readers import evaluate_readers

    if len(runs) > 1:
        raise click.UsageError("several readers are compared with one folder of masks")
    (model,) = named_runs(runs).values()
    with watching() as watch:
        summary = evaluate_readers(model, named_runs(references), how, output, watch)
    tell_readers(summary)
    return bool(summary.failures)
