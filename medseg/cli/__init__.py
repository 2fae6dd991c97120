"""Floor 6: words in, one call, words out. Nothing else in medseg prints or exits.

Exit codes: 0 all well, 1 some studies failed, 2 the pipeline, the input or the output is
wrong and nothing was started, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import signal
from typing import Any, NoReturn

import click

from medseg import __version__
from medseg.cli.change import convert
from medseg.cli.evaluate import evaluate
from medseg.cli.look import check, doctor, ls, models, schema, steps
from medseg.cli.plan import plan
from medseg.cli.report import report
from medseg.cli.work import run, train
from medseg.errors import MedsegError

WRONG, INTERRUPTED, TERMINATED = 2, 130, 143


class _Group(click.Group):
    """Commands in the order of their importance, and errors told as sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is told without a traceback."""
        signal.signal(signal.SIGTERM, _terminated)
        try:
            return super().invoke(ctx)
        except MedsegError as error:
            from medseg.cli.complaints import tell

            tell(error)
            ctx.exit(WRONG)
        except KeyboardInterrupt:
            click.echo(
                "interrupted; what is finished stays, and the same command goes on", err=True
            )
            ctx.exit(INTERRUPTED)


def _terminated(number: int, frame: object) -> NoReturn:
    del number, frame
    raise SystemExit(TERMINATED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="medseg")
def main() -> None:
    """CT and MRI scans to masks, from one readable pipeline file.

    For research; not a medical device.
    """


COMMANDS = (run, plan, train, evaluate, report, convert, check, ls, steps, models, schema, doctor)
for command in COMMANDS:
    main.add_command(command)
