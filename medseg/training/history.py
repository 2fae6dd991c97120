"""How a training went: one row an epoch, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from medseg.image import Labels


@dataclass(frozen=True)
class Epoch:
    """One row: when, how far, the mean loss, the rate, and Dice where it was measured."""

    epoch: int
    minutes: float
    loss: float
    learning_rate: float
    dice: Mapping[str, float | None] = field(default_factory=dict)

    def after(self, earlier: Epoch, share: float) -> Epoch:
        """One row with an ``earlier`` part of the epoch; ``share`` of the steps were in this one.

        What this part did not measure stays as it was.
        """
        loss = (1 - share) * earlier.loss + share * self.loss
        return replace(self, loss=loss, dice=self.dice or earlier.dice)

    def row(self, labels: Labels) -> dict[str, str]:
        """The row as text; what was not measured stays empty."""
        row = {
            "epoch": str(self.epoch),
            "minutes": f"{self.minutes:.2f}",
            "loss": f"{self.loss:.5f}",
            "learning_rate": f"{self.learning_rate:.3e}",
        }
        for name in labels.names:
            value = self.dice.get(name)
            row[f"dice_{name}"] = "" if value is None else f"{value:.4f}"
        return row


def mean_dice(dice: Mapping[str, float | None]) -> float:
    """Over the labels that any study has; 0 where none has."""
    return fmean([value for value in dice.values() if value is not None] or [0.0])


@dataclass
class Best:
    """The best mean Dice over labels so far, its weights, and how often there was none better.

    ``labels`` is the Dice of each label that it is the mean of.
    """

    dice: float | None = None
    waited: int = 0
    weights: dict[str, Any] | None = None
    labels: Mapping[str, float | None] = field(default_factory=dict)

    def hear(self, dice: Mapping[str, float | None], weights: Callable[[], Any]) -> None:
        """Take note of a validation, and of the weights it was of where none was better."""
        if all(value is None for value in dice.values()):
            return
        mean = mean_dice(dice)
        if self.dice is None or mean > self.dice:
            self.dice, self.waited, self.labels = mean, 0, dict(dice)
            self.weights = {key: one.detach().clone() for key, one in weights().items()}
        else:
            self.waited += 1

    def state(self) -> dict[str, Any]:
        """All that a later run needs."""
        return {
            "dice": self.dice,
            "waited": self.waited,
            "weights": self.weights,
            "labels": self.labels,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; an empty one is that of an earlier version."""
        self.dice, self.waited = state.get("dice"), state.get("waited", 0)
        self.weights, self.labels = state.get("weights"), state.get("labels", {})


def history_csv(epochs: Sequence[Epoch], labels: Labels) -> bytes:
    """The history as a CSV table."""
    names = ["epoch", "minutes", "loss", "learning_rate", *(f"dice_{n}" for n in labels.names)]
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(one.row(labels) for one in epochs)
    return text.getvalue().encode()


def history_png(epochs: Sequence[Epoch], labels: Labels) -> bytes:
    """Loss and Dice against minutes as a picture; needs matplotlib (extra ``report``)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.plot([e.minutes for e in epochs], [e.loss for e in epochs], color="0.6", label="loss")
    left.set(xlabel="minutes", ylabel="training loss")
    right = left.twinx()
    for label in labels:
        found = [(e.minutes, e.dice.get(label.name)) for e in epochs]
        points = [(minutes, dice) for minutes, dice in found if dice is not None]
        if points:
            minutes, dice = zip(*points, strict=True)
            right.plot(minutes, dice, marker="o", markersize=3, label=label.name)
    right.set(ylabel="Dice on held-out studies", ylim=(0, 1))
    right.grid(alpha=0.3)
    handles = [*left.get_lines(), *right.get_lines()]
    right.legend(handles=handles, loc="lower right", frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()
