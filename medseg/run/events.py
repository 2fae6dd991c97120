"""What a caller may hear while a verb is at work; the CLI draws its progress from these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["done", "kept", "failed"]


@dataclass(frozen=True)
class StudyStarted:
    """Work on a study begins; ``index`` counts from 1."""

    name: str
    index: int
    total: int


@dataclass(frozen=True)
class StageStarted:
    """A stage of the study at work begins: read, preprocess, inference, ...

    Where several studies are at work, ``study`` is the name of this one.
    """

    stage: str
    study: str = ""


@dataclass(frozen=True)
class StudyDone:
    """A study ended: ``kept`` from an earlier run, ``done`` now, or ``failed`` and why."""

    name: str
    state: State
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class StepDone:
    """A step of training ended, told now and then; ``spent`` is the share of the budget."""

    loss: float
    minutes: float
    spent: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch of training ended; ``spent`` is the share of the budget."""

    epoch: int
    minutes: float
    spent: float
    loss: float
    learning_rate: float
    dice: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """Something worth telling at once."""

    text: str


Event = StudyStarted | StageStarted | StudyDone | StepDone | EpochDone | Note
Watch = Callable[[Event], None]


def unheard(event: Event) -> None:
    """The watch of a caller who does not listen."""
    del event
