"""``medseg plan``: a pipeline on stdout, and what it was made from on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli.options import ANY_PATH

if TYPE_CHECKING:
    from medseg.run.plan import PlanSummary
    from medseg.run.sizing import Budget


@click.command()
@click.argument("data", type=ANY_PATH)
@click.option("--reference", type=ANY_PATH, help="Masks: a folder, a pattern, or a file.")
@click.option("--channels", default="image", help="The names of a study's images: T1,FLAIR.")
@click.option("--labels", type=ANY_PATH, help="A YAML file with 'labels:' and 'ignore:'.")
@click.option("--name", help="The pipeline's name; the data set's where it is left out.")
@click.option(
    "--modality",
    type=click.Choice(["CT", "MR", "PET", "other"]),
    help="Of every channel; without it their names and values decide.",
)
@click.option("--minutes", default=60.0, help="The budget of time to train in; 60.")
@click.option("--memory", type=float, help="GiB to train in; half of the machine's, or the GPU's.")
@click.option("--teraflops", type=float, help="How fast the machine trains; measured without it.")
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--dims", type=click.Choice(["auto", "2", "3"]), default="auto")
@click.option(
    "--stage",
    type=click.Choice(["whole", "low"]),
    default="whole",
    help="low: a first stage at low resolution, for large scans.",
)
@click.option("--within", type=ANY_PATH, help="A trained first stage, to crop to what it finds.")
@click.option("--fingerprint", type=ANY_PATH, help="Write the fingerprint as JSON to this file.")
@click.option("--plot", type=ANY_PATH, help="Write a picture of the fingerprint to this file.")
def plan(data: Path, **options: Any) -> None:
    """Audit DATA, take its fingerprint, and print a pipeline for it, every choice with its reason.

    The pipeline trains as it is: medseg plan DATA > mine.yaml; medseg train mine.yaml.
    """
    from medseg.cli.progress import watching
    from medseg.run import verbs
    from medseg.run.wishes import Wish

    names = [name.strip() for name in options["channels"].split(",") if name.strip()]
    wish = Wish(
        _budget(options),
        modality=options["modality"],
        dims=options["dims"],
        stage=options["stage"],
        within=options["within"],
    )
    with watching() as watch:
        made = verbs.plan(
            data,
            wish,
            name=options["name"],
            reference=options["reference"],
            channels=names or ["image"],
            labels=options["labels"],
            watch=watch,
        )
    _tell(made)
    _write(made, options["fingerprint"], options["plot"])
    click.echo(made.text, nl=False)


def _budget(options: dict[str, Any]) -> Budget:
    from medseg.run.sizing import Budget, measured_teraflops, usual_memory_gib

    fast = options["teraflops"] or measured_teraflops(options["device"])
    memory = options["memory"] or usual_memory_gib(options["device"])
    try:
        return Budget(options["minutes"], memory, fast)
    except ValueError as error:
        option = f"'--{str(error).split('_')[0].split()[0]}'"
        raise click.BadParameter(str(error), param_hint=option) from None


def _tell(made: PlanSummary) -> None:
    from medseg.cli.complaints import shown
    from medseg.cli.tables import aligned

    for fault in made.audit.faults:
        click.echo(f"left out: {shown(str(fault))}", err=True)
    for line in aligned(made.fingerprint.table()):
        click.echo(line, err=True)
    for note in made.plan.notes:
        click.echo(note, err=True)
    sized = made.plan.sized
    told = f"about {sized.steps} steps of {sized.batch} patches, {sized.memory_gib:.1f} GiB"
    click.echo(f"{made.fingerprint.studies} studies; {told}", err=True)


def _write(made: PlanSummary, said: Path | None, picture: Path | None) -> None:
    from medseg.io import write_atomically
    from medseg.run.fingerprint import fingerprint_png

    if said is not None:
        write_atomically(said, made.fingerprint.to_json().encode())
    if picture is not None:
        write_atomically(picture, fingerprint_png(made.fingerprint))
