"""What is heard while a verb works: live on a terminal, a line of JSON a study elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import click

from medseg.cli.complaints import shown
from medseg.run.events import (
    EpochDone,
    Event,
    Note,
    StageStarted,
    StepDone,
    StudyDone,
    StudyStarted,
    Watch,
)

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY_SECONDS = 10.0


@contextmanager
def watching() -> Iterator[Watch]:
    """A watch that prints to stderr for as long as the block runs."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Told(lambda line: click.echo(line, err=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn("line"),
        TextColumn("{task.fields[count]}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Live(progress)


class Lines:
    """A line for each study that ended, each note, and an epoch now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last_epoch = float("-inf")

    def __call__(self, event: Event) -> None:
        """Print what the event has to say, if anything."""
        if isinstance(event, EpochDone) and not event.dice:
            if monotonic() - self._last_epoch < _EVERY_SECONDS:
                return
            self._last_epoch = monotonic()
        for line in lines_of(event):
            self._say(line)


class Told(Lines):
    """The same for programs: a study that ended is an object of JSON on a line of its own.

    It has ``study``, ``state``, ``seconds``, of a failure ``message``, and how many studies of
    this command are ``done``, ``kept`` and ``failed`` by then, and how many are ``left``.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say)
        self._tally = Tally()

    def __call__(self, event: Event) -> None:
        """Print what the event has to say, if anything."""
        self._tally.add(event)
        if not isinstance(event, StudyDone):
            super().__call__(event)
            return
        told: dict[str, object] = {"study": event.name, "state": event.state}
        told["seconds"] = round(event.seconds, 3)
        if event.message:
            told["message"] = shown(event.message)
        told |= self._tally.ended
        if self._tally.total:
            told["left"] = self._tally.left
        self._say(json_line(told))


class Tally:
    """How many studies have ended in which way, of how many."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = {"done": 0, "kept": 0, "failed": 0}

    def add(self, event: Event) -> None:
        """Count."""
        if isinstance(event, StudyStarted):
            self.total = event.total
        elif isinstance(event, StudyDone):
            self.ended[event.state] += 1

    @property
    def left(self) -> int:
        """The studies that have not ended yet."""
        return self.total - sum(self.ended.values())


class Live:
    """A bar with the study and the stage at work, and above it what Lines would say."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("starting", total=None, count="")
        self._study = ""
        self._tally = Tally()
        self._epoch = self._dice = ""
        self._begun: float | None = None
        # Through the bar's own console, which draws the bar anew below each line.
        say = progress.console.print
        self._lines = Lines(lambda line: say(line, markup=False, highlight=False, soft_wrap=True))

    def __call__(self, event: Event) -> None:
        """Draw the event."""
        self._tally.add(event)
        if isinstance(event, StudyStarted):
            self._study = event.name
            self._begun = self._begun or monotonic()
            self._draw(event.name)
        elif isinstance(event, StageStarted):
            self._draw(f"{event.study or self._study}  {event.stage}".strip())
        elif isinstance(event, StudyDone):
            self._draw(event.name, sum(self._tally.ended.values()))
        elif isinstance(event, StepDone):
            self._train(event)
        elif isinstance(event, EpochDone):
            self._dice = dice_of(event) or self._dice
            self._epoch = f"epoch {event.epoch}  "
            self._train(event)
        self._lines(event)

    def _train(self, event: StepDone | EpochDone) -> None:
        """The last epoch that ended, the loss now, the time left, and the last Dice by class."""
        told = f"{self._epoch}loss {event.loss:.3f}{left(event.minutes, event.spent)}{self._dice}"
        self._progress.update(
            self._bar, total=1.0, completed=event.spent, description=told, count="training"
        )

    def _draw(self, text: str, completed: int | None = None) -> None:
        ended, left, total = self._tally.ended, self._tally.left, self._tally.total
        told = [f"{count} {state}" for state, count in ended.items() if count]
        worked = ended["done"] + ended["failed"]
        pace = pace_of(worked, left, monotonic() - self._begun) if self._begun else ""
        count = ", ".join([*told, f"{left} left{pace}"]) if total else ""
        self._progress.update(
            self._bar,
            total=total or None,
            completed=completed,
            description=shown(text),
            count=count,
        )


def pace_of(worked: int, left: int, seconds: float) -> str:
    """Studies an hour and the time that those left will take; nothing before five are done."""
    if worked < 5 or seconds <= 0:
        return ""
    hours = left * seconds / worked / 3600
    rest = f"{60 * hours:.0f} min" if hours < 1.5 else f"{hours:.1f} h"
    return f", {3600 * worked / seconds:.0f} an hour" + (f", {rest}" if left else "")


def json_line(told: Mapping[str, object]) -> str:
    """An object on one line, with nothing in it that could steer a terminal."""
    line = json.dumps(told, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def lines_of(event: Event) -> list[str]:
    """What an event says in plain words; nothing for those that only move a bar."""
    if isinstance(event, StudyDone):
        told = event.message or f"{event.seconds:.1f} s"
        return [f"{shown(event.name)}  {event.state}  {shown(told)}"]
    if isinstance(event, EpochDone):
        share = f"{event.minutes:.1f} min, {min(event.spent, 1.0):.0%}"
        told = f"loss {event.loss:.4f}  rate {event.learning_rate:.1e}"
        told += f"{left(event.minutes, event.spent)}{dice_of(event)}"
        return [f"epoch {event.epoch}  {share}  {told}"]
    return [shown(event.text)] if isinstance(event, Note) else []


def dice_of(event: EpochDone) -> str:
    """The Dice of every label that was measured; nothing where none was."""
    known = {name: value for name, value in event.dice.items() if value is not None}
    said = "".join(f"  {shown(name)} {value:.4f}" for name, value in known.items())
    return f"  Dice{said}" if said else ""


def left(minutes: float, spent: float) -> str:
    """The time left, as the share of the budget that is spent has taken ``minutes``."""
    if not 0 < spent < 1:
        return ""
    rest = minutes * (1 / spent - 1)
    return f"  {rest:.1f} min left" if rest < 90 else f"  {rest / 60:.1f} h left"
