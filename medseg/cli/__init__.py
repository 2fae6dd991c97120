"""Floor 6: words in, one call, words out. Nothing else in medseg prints or exits.

Exit codes: 0 all well, 1 some studies failed, 2 the pipeline, the input or the output is
wrong and nothing was started, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from medseg import __version__
from medseg.cli.change import convert
from medseg.cli.evaluate import evaluate
from medseg.cli.look import check, doctor, ls, models, schema, steps
from medseg.cli.plan import plan
from medseg.cli.report import report
from medseg.cli.whole import merge, status, watch
from medseg.cli.work import export, run, train
from medseg.errors import MedsegError

WRONG, INTERRUPTED, TERMINATED = 2, 130, 143
_GOES_ON = "what is finished stays, and the same command goes on"


class _Group(click.Group):
    """Commands in the order of their importance, and errors told as sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is told without a traceback."""
        try:
            with _leaving():
                return super().invoke(ctx)
        except MedsegError as error:
            from medseg.cli.complaints import tell

            tell(error)
            ctx.exit(WRONG)
        except KeyboardInterrupt:
            click.echo(f"interrupted; {_GOES_ON}", err=True)
            ctx.exit(INTERRUPTED)
        except SystemExit as end:
            if end.code == TERMINATED:
                click.echo(f"terminated; {_GOES_ON}", err=True)
            raise


@contextmanager
def _leaving() -> Iterator[None]:
    """A first signal ends the work cleanly; a second one at once, as nothing is half-written."""
    asked = False

    def leave(number: int, frame: object) -> NoReturn:
        nonlocal asked
        del frame
        if asked:
            os._exit(128 + number)
        asked = True
        if number == signal.SIGTERM:
            raise SystemExit(TERMINATED)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        # A shell that starts us in its background has Ctrl-C for others.
        if handler is not signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="medseg")
def main() -> None:
    """CT and MRI scans to masks, from one readable pipeline file.

    For research; not a medical device.
    """


COMMANDS = (
    *(run, watch, status, merge, plan, train, evaluate, report, convert, export),
    *(check, ls, steps, models, schema, doctor),
)
for command in COMMANDS:
    main.add_command(command)
