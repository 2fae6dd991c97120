"""The commands that do the work: run, train and export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg.cli.options import ANY_PATH, pipeline_argument, place, scans, setting, site_of

if TYPE_CHECKING:
    from medseg.run.shards import Shard

FAILED = 1


def _shard(ctx: click.Context, option: click.Parameter, value: str | None) -> Shard | None:
    del ctx, option
    from medseg.run.shards import Shard

    try:
        return None if value is None else Shard.named(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@pipeline_argument
@scans
@click.option("--output", type=ANY_PATH, help="The folder that takes masks, records and tables.")
@place
@setting
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--overwrite", is_flag=True, help="Do finished studies again.")
@click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Do one part of several, such as 3/8; 'any' takes what no other shard has.",
)
@click.option("--report", is_flag=True, help="Write pages as well: OUTPUT/report/index.html.")
@click.pass_context
def run(  # noqa: PLR0913 - each is an option of the command line
    ctx: click.Context,
    *,
    pipeline: Path,
    input_: Path | None,
    reference: Path | None,
    output: Path | None,
    site: Path | None,
    device: str | None,
    settings: tuple[str, ...],
    dry_run: bool,
    overwrite: bool,
    shard: Shard | None,
    report: bool,
) -> None:
    """Segment scans by PIPELINE, a YAML file or a model folder.

    Finished studies are not done again; a killed run goes on where it stopped. Shards of one
    output folder may run at once; medseg status tells how far they are, medseg merge makes the
    tables of all.
    """
    from medseg.run.verbs import asked

    chosen = site_of(site, device)
    wanted = asked(pipeline, settings, input=input_, reference=reference, output=output)
    if dry_run:
        from medseg.cli.tables import tell_plan
        from medseg.run.predict import plan

        tell_plan(plan(wanted, overwrite=overwrite, shard=shard))
        return
    if report:
        from medseg.run.report import check_packages

        check_packages()
    from medseg.cli.progress import watching
    from medseg.cli.tables import tell_run
    from medseg.run.predict import predict

    with watching() as watch:
        summary = predict(wanted, chosen, overwrite=overwrite, shard=shard, watch=watch)
    tell_run(summary)
    if report:
        from medseg.cli.report import tell_written

        tell_written(summary.output)
    if summary.failures:
        ctx.exit(FAILED)


@click.command()
@pipeline_argument
@click.option("--output", type=ANY_PATH, required=True, help="The model folder to write.")
@scans
@click.option(
    "--fold",
    help="The fold to hold out, or 'all' for each in turn; without one, every study is trained on.",
)
@click.option("--folds", type=ANY_PATH, help="A JSON file {fold: [study, ...]}.")
@click.option("--tensorboard", is_flag=True, help="Write the history for TensorBoard as well.")
@place
@setting
def train(  # noqa: PLR0913 - each is an option of the command line
    *,
    pipeline: Path,
    output: Path,
    input_: Path | None,
    reference: Path | None,
    fold: str | None,
    folds: Path | None,
    tensorboard: bool,
    site: Path | None,
    device: str | None,
    settings: tuple[str, ...],
) -> None:
    """Train the network of PIPELINE and write a model folder.

    A training that was stopped goes on where it was when it is started again, and one that
    ended goes on where it is given a larger budget. Studies with a fault are named first, and
    left out. With --fold all the model is the ensemble of the folds.
    """
    from medseg.cli.progress import watching
    from medseg.cli.tables import tell_training
    from medseg.run import verbs

    chosen = site_of(site, device)
    wanted = verbs.asked(pipeline, settings, input=input_, reference=reference)
    with watching() as watch:
        summary = verbs.train(
            wanted,
            output,
            folds=folds,
            fold=fold,
            site=chosen,
            tensorboard=tensorboard,
            watch=watch,
        )
    # Of several processes that torchrun started, the first speaks for all.
    if os.environ.get("RANK", "0") == "0":
        tell_training(summary)


@click.command()
@pipeline_argument
@click.argument("output", type=ANY_PATH)
@click.option(
    "--to",
    type=click.Choice(["pt2", "onnx", "openvino", "monai_bundle"]),
    required=True,
    help="torch.export's file, ONNX, OpenVINO, or a folder that MONAI runs.",
)
@setting
def export(pipeline: Path, output: Path, to: str, settings: tuple[str, ...]) -> None:
    """Write the networks of PIPELINE into the folder OUTPUT, for other programs.

    Beside them medseg.json says what goes before and after.
    """
    from medseg.cli.tables import tell_export
    from medseg.run import verbs

    tell_export(verbs.export(verbs.asked(pipeline, settings), output, to))  # type: ignore[arg-type]
