"""Figures of doubt: a model among several readers, and whether probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from medseg.run.calibration import pooled
from medseg.run.report.canvas import INKS, MOST_LABELS, canvas, legend, named
from medseg.run.report.gathering import Gathered
from medseg.run.report.words import metric_label, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MODEL = "model"
_READERS, _INDEX = "#6b7681", "#27313c"


def among_readers(found: Gathered) -> tuple[Figure, str] | None:
    """Agreement of the model with readers beside that of readers, and Williams's index.

    One row a label, of the first share that was asked for; None where there was one reference.
    """
    known = (found.agreement or {}).get("among_readers", {})
    metric = next((m for metrics in known.values() for m, one in metrics.items() if one), None)
    labels = [label for label, metrics in known.items() if metrics.get(metric)][:MOST_LABELS]
    if metric is None or not labels:
        return None
    figure, (shares, index) = canvas(2, side=(3.4, 1.1 + 0.75 * len(labels)))
    for place, label in enumerate(labels):
        said = _by_study(found, label, metric)
        _row(shares, place - 0.18, [one for _, one in said], _READERS)
        _row(shares, place + 0.18, [one for one, _ in said], INKS[1])
        _answer(index, place, known[label][metric])
    for name, ink in (("reader with reader", _READERS), ("model with reader", INKS[1])):
        shares.plot([], [], "s", color=ink, label=name)
    legend(shares)
    index.axvline(1, color=_INDEX, linestyle="--", linewidth=1)
    for axes in (shares, index):
        axes.set_yticks(range(len(labels)), list(map(short, labels)))
        axes.set_ylim(len(labels) - 0.45, -0.65)
        axes.grid(axis="y", visible=False)
    index.set_yticklabels([])
    shares.set_xlabel(f"{metric_label(metric)}, mean of a study")
    index.set_xlabel("model with readers / readers with readers")
    return figure, (
        "Is the model within the readers' own disagreement? Left: each point is a study, the mean"
        f" {metric_label(metric)} of readers with each other and of the model with them; boxes are"
        " quartiles. Right: the ratio of the means (Williams's index) with its 95 % interval; at"
        " the dashed line the model agrees with readers as they do with each other."
    )


def _by_study(found: Gathered, label: str, metric: str) -> list[tuple[float, float]]:
    """Of each study the mean of the model with readers, and of readers with each other."""
    told = []
    for record in found.runs[0].records.values():
        values: dict[bool, list[float]] = {True: [], False: []}
        for one in record.get("pairs", []):
            here = (one["label"], one["metric"]) == (label, metric) and one[
                "other"
            ] in found.readers
            if here and one["value"] is not None:
                values[one["one"] == _MODEL].append(one["value"])
        if values[True] and values[False]:
            told.append((fmean(values[True]), fmean(values[False])))
    return told


def _row(axes: Axes, place: float, values: Sequence[float], ink: str) -> None:
    """A lying box with its points."""
    import numpy as np

    axes.boxplot(
        [values], positions=[place], widths=0.26, showfliers=False, manage_ticks=False,
        orientation="horizontal", boxprops={"color": ink}, whiskerprops={"color": ink},
        medianprops={"color": ink, "linewidth": 2}, capprops={"color": ink},
    )  # fmt: skip
    moved = place + np.random.default_rng(0).uniform(-0.1, 0.1, len(values))
    axes.plot(values, moved, ".", color=ink, alpha=0.5, markersize=6, markeredgewidth=0)


def _answer(axes: Axes, place: int, one: Mapping[str, Any]) -> None:
    if one["index"] is None:
        return
    if one["low"] is not None:
        axes.plot([one["low"], one["high"]], [place, place], color=_INDEX, linewidth=2)
    axes.plot(one["index"], place, "o", color=_INDEX, markersize=6)
    told = {"yes": "within", "no": "not within"}.get(one["within"], one["within"] or "")
    above = (0, 8)
    axes.annotate(
        told, (one["index"], place), above, textcoords="offset points", ha="center", fontsize=8
    )


def reliability_curves(found: Gathered) -> tuple[Figure, str] | None:
    """What came true of what was said, by label and run; None where nothing was kept."""
    curves = {named(run): pooled(run.records.values()) for run in found.runs}
    labels = list(dict.fromkeys(label for known in curves.values() for label in known))
    labels = labels[:MOST_LABELS]
    if not labels:
        return None
    figure, panels = canvas(min(len(labels), 4), -(-len(labels) // 4), (2.7, 2.7))
    for axes in panels[len(labels) :]:
        axes.set_axis_off()
    for axes, label in zip(panels, labels, strict=False):
        axes.plot([0, 1], [0, 1], color="#8a94a0", linewidth=1, linestyle="--")
        for place, (name, known) in enumerate(curves.items()):
            if label in known:
                curve = known[label].curve
                told = f"{name}, ECE {curve.ece:.3f}" if len(curves) > 1 else f"ECE {curve.ece:.3f}"
                ink = INKS[place % len(INKS)]
                axes.plot(curve.forecast, curve.observed, "o-", color=ink, markersize=4, label=told)
        axes.set_title(short(label), fontsize=9, loc="right")
        axes.set_aspect("equal")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("probability said")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    panels[0].set_ylabel("share that came true")
    return figure, (
        "Reliability: of voxels that were given a probability, how many have the label, by bins."
        " On the dashed line probabilities mean what they say; below it the networks were too sure."
    )
