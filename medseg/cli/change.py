"""The command that changes forms: convert."""

from __future__ import annotations

from pathlib import Path

import click

from medseg.cli.options import ANY_PATH

FAILED = 1


@click.command()
@click.argument("source", metavar="IN", type=ANY_PATH)
@click.argument("out", metavar="OUT", type=ANY_PATH)
@click.option("--to", help="The form, where OUT's name does not say it: see below.")
@click.option("--scan", type=ANY_PATH, help="The scan a mask lies on; SEG and RTSTRUCT need it.")
@click.option(
    "--labels", type=ANY_PATH, help="A YAML file with 'labels:', to name a mask's values."
)
@click.option("--pipeline", type=ANY_PATH, help="Take labels, channels and 'input:' of a pipeline.")
@click.option("--reference", type=ANY_PATH, help="Masks of a data set: a folder or a pattern.")
@click.option("--channels", help="The names of a study's images: T1w,FLAIR.")
@click.option("--mask", is_flag=True, help="IN is a mask, though nothing in it says so.")
@click.pass_context
def convert(  # noqa: PLR0913 - each is an option of the command line
    ctx: click.Context,
    *,
    source: Path,
    out: Path,
    to: str | None,
    scan: Path | None,
    labels: Path | None,
    pipeline: Path | None,
    reference: Path | None,
    channels: str | None,
    mask: bool,
) -> None:
    """Convert scans, masks and data sets from one form to another.

    Scans become nifti or nrrd. Masks become nifti, seg_nrrd, dicom_seg, rtstruct, stl, ply,
    itksnap or slicer. Data sets become nnunet, decathlon or bids. IN is a file, a DICOM folder or
    a data set. New headers hold the place in the patient and nothing else of it; SEG and RTSTRUCT
    carry the patient of their scan.
    """
    from medseg.cli.complaints import shown
    from medseg.cli.progress import watching
    from medseg.run.convert import TARGETS, target_of
    from medseg.run.convert import convert as converted
    from medseg.run.verbs import conversion

    if to is not None and to not in TARGETS:
        raise click.BadParameter(f"one of {', '.join(TARGETS)}", param_hint="'--to'")
    names = tuple(name.strip() for name in (channels or "").split(",") if name.strip())
    asked = conversion(
        to or target_of(out),
        pipeline=pipeline,
        labels=labels,
        channels=names,
        more={"scan": scan, "reference": reference, "mask": mask},
    )
    with watching() as watch:
        done = converted(source, out, asked, watch)
    for path in done.written:
        click.echo(shown(str(path)))
    for name, error in done.failures.items():
        click.echo(f"{shown(name)}: {shown(str(error))}", err=True)
    if done.failures:
        ctx.exit(FAILED)
