"""Runs that go on: how far one is, shards made one, a folder that is watched."""

from __future__ import annotations

from pathlib import Path

import click

from medseg.cli.complaints import shown
from medseg.cli.options import ANY_PATH, place, setting, site_of
from medseg.cli.work import FAILED

_SHOWN = 10


@click.command()
@click.argument("output", type=ANY_PATH)
def status(output: Path) -> None:
    """Say how far the run in the folder OUTPUT is; nothing is touched."""
    from medseg.run.whole import progress

    found = progress(output)
    for name, code in found.failed.items():
        click.echo(f"{shown(name)}: {code}")
    _tell_left(found.left)
    for name, count in found.parts.items() if len(found.parts) > 1 else ():
        click.echo(f"{name}: {count}")
    told = f"{len(found.done)} done, {len(found.failed)} failed, {len(found.left)} left"
    if found.by_hour:
        told += f"; {found.by_hour:.4g} an hour"
    if found.left and found.hours_left:
        told += f", {found.hours_left:.1f} h left"
    click.echo(f"{told}: {shown(str(output))}")


@click.command()
@click.argument("output", type=ANY_PATH)
@click.pass_context
def merge(ctx: click.Context, output: Path) -> None:
    """Make the tables and the summary of all shards in the folder OUTPUT.

    Every mask is held against its digest. The exit code is 1 where studies failed or are left.
    """
    from medseg.cli.tables import tell_summary
    from medseg.run.whole import merge as merged

    made = merged(output)
    tell_summary(made.summary)
    _tell_left(made.left)
    failed = made.summary["failed"]
    counts = f"{made.summary['done']} done, {len(failed)} failed, {len(made.left)} left"
    click.echo(f"{counts}: {shown(str(output))}")
    if failed or made.left:
        ctx.exit(FAILED)


def _tell_left(names: tuple[str, ...]) -> None:
    for name in names[:_SHOWN]:
        click.echo(f"{shown(name)}: left")
    if len(names) > _SHOWN:
        click.echo(f"and {len(names) - _SHOWN} more left")


@click.command()
@click.argument("folder", type=ANY_PATH)
@click.option("--pipeline", type=ANY_PATH, required=True, help="A YAML file or a model folder.")
@click.option("--output", type=ANY_PATH, required=True, help="The folder that takes the results.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds for which a study's files have to stay as they are.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.05),
    default=5.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--idle", type=click.FloatRange(min=0), help="End when nothing has come for these seconds."
)
@place
@setting
@click.pass_context
def watch(  # noqa: PLR0913 - each is an option of the command line
    ctx: click.Context,
    *,
    folder: Path,
    pipeline: Path,
    output: Path,
    settle: float,
    every: float,
    idle: float | None,
    site: Path | None,
    device: str | None,
    settings: tuple[str, ...],
) -> None:
    """Segment studies as they arrive in FOLDER, until Ctrl-C.

    What was done before is kept, so it may be stopped and started at any time.
    """
    from medseg.cli.progress import watching
    from medseg.cli.tables import tell_run
    from medseg.run.verbs import asked
    from medseg.run.watching import Patience, watch_folder

    chosen = site_of(site, device)
    wanted = asked(pipeline, settings, input=folder, output=output)
    with watching() as hear:
        summary = watch_folder(wanted, chosen, Patience(settle, every, idle), hear)
    tell_run(summary)
    if summary.failures:
        ctx.exit(FAILED)
