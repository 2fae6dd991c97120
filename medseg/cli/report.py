"""The command that makes pages of what a run or an evaluation found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg.cli.options import ANY_PATH

if TYPE_CHECKING:
    from medseg.run.report import Elsewhere


@click.command()
@click.argument("output", type=ANY_PATH)
@click.option("--scans", type=ANY_PATH, help="The scans, where they are not where they were.")
@click.option("--reference", type=ANY_PATH, help="The references, likewise.")
@click.option(
    "--predictions",
    multiple=True,
    metavar="[RUN=]PATH",
    help="The masks that were evaluated, likewise; of several runs as a=DIR, several times.",
)
def report(
    output: Path, scans: Path | None, reference: Path | None, predictions: tuple[str, ...]
) -> None:
    """Write OUTPUT/report/index.html of what 'run' or 'evaluate' left in OUTPUT.

    One folder that opens from disk and asks no network for anything: the studies, worst first,
    tables and figures, and a page for each study with slices and a viewer. The extra 'report'
    is needed.
    """
    from medseg.run.report import Elsewhere

    masks = dict(map(_parted, predictions))
    tell_written(output, Elsewhere(scans, reference, masks))


def _parted(said: str) -> tuple[str, Path]:
    """``run=path``, or the path of the only run."""
    name, equals, path = said.partition("=")
    return (name, Path(path)) if equals and "/" not in name else ("", Path(said))


def tell_written(output: Path, where: Elsewhere | None = None) -> None:
    """Write the pages and say where they are."""
    from medseg.cli.complaints import shown
    from medseg.cli.progress import watching
    from medseg.run.report import write_report

    with watching() as watch:
        summary = write_report(output, where, watch)
    told = f"{summary.studies} studies, {summary.pictured} with pictures"
    click.echo(f"{told}: {shown(str(summary.index))}")
