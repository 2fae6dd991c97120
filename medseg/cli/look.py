"""The commands that only look: check, ls, steps, models, schema, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from medseg.cli.options import ANY_PATH, pipeline_argument, setting


@click.command()
@pipeline_argument
@setting
def check(pipeline: Path, settings: tuple[str, ...]) -> None:
    """Read PIPELINE and tell every mistake with its line and column.

    Neither scans nor weights are opened, and no network is built.
    """
    from medseg.cli.complaints import shown
    from medseg.errors import ModelError
    from medseg.pipeline import check_ready, load_pipeline

    loaded = load_pipeline(pipeline, settings)
    try:
        check_ready(loaded)
        ready = "ready to run"
    except ModelError as error:
        if loaded.training is None:
            raise
        ready = f"ready to train; not yet to run: {error.message}"
    labels = ", ".join(loaded.labels.names)
    click.echo(f"{shown(str(pipeline))}: {shown(loaded.name)} ({shown(labels)}), {ready}")


@click.command()
@click.argument("path", type=ANY_PATH)
@click.option("--reference", type=ANY_PATH, help="Masks: a folder, a pattern, or a file.")
@click.option("--channels", default="image", help="The names of a study's images: T1,FLAIR.")
@click.option(
    "--descriptions",
    is_flag=True,
    help="Show what DICOM series and drawings are called: free text, which may name people.",
)
def ls(path: Path, reference: Path | None, channels: str, descriptions: bool) -> None:
    """Show which studies PATH means, and how they were found.

    Of DICOM every series is shown, and whether it would be read: a code where it would not.
    """
    from medseg.cli.tables import tell_descriptions, tell_series, tell_studies
    from medseg.io import find_studies

    names = [name.strip() for name in channels.split(",") if name.strip()]
    found = find_studies(path, reference=reference, channels=names or ["image"], series="each")
    (tell_series if found.piles else tell_studies)(found)
    if descriptions and found.layout == "DICOM":
        from medseg.io.layouts_dicom import descriptions as of_series

        tell_descriptions(of_series(path))


@click.command()
@click.argument("name", required=False)
def steps(name: str | None) -> None:
    """List all steps, those of a room, or explain one step.

    NAME is a room (preprocess, inference, refine, postprocess, metrics, augmentation) or a step.
    """
    from medseg.cli.help import ROOMS, tell_rooms, tell_step

    if name is None or name in ROOMS:
        tell_rooms(name)
    else:
        tell_step(name)


@click.command()
@click.argument("name", required=False)
def models(name: str | None) -> None:
    """List the networks with their papers, or explain one."""
    from medseg.cli.help import tell_models

    tell_models(name)


@click.command()
def schema() -> None:
    """Print the JSON schema of pipeline files, for editors."""
    from medseg.pipeline import json_schema

    click.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))


@click.command()
@click.option("--add-viewer", is_flag=True, help="Bring the viewer of reports in, by npm.")
def doctor(add_viewer: bool) -> None:
    """Show versions, processor, memory, devices and what is installed."""
    if add_viewer:
        from medseg.run.report.viewer_files import ViewerMissingError, fetch_viewer

        try:
            fetch_viewer()
        except (ViewerMissingError, OSError) as error:
            raise click.ClickException(f"the viewer was not brought in: {error}") from None
    from medseg.cli.machine import findings
    from medseg.cli.tables import aligned

    rows: list[Any] = list(findings())
    for line in aligned([("", ""), *rows])[1:]:
        click.echo(line)
