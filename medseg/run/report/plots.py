"""Figures of a cohort by matplotlib (extra ``report``), as SVG for pages and PDF for papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.metrics.statistics import bland_altman
from medseg.run.report.canvas import (
    INKS,
    MOST_LABELS,
    STYLE,
    Drawing,
    canvas,
    finished,
    legend,
    named,
)
from medseg.run.report.doubt_plots import among_readers, reliability_curves
from medseg.run.report.gathering import Gathered, RunSaid, higher_is_better, values_of
from medseg.run.report.words import metric_label, safe, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STARTS = ("dice", "hd95", "nsd")


def figures(found: Gathered) -> Iterator[Drawing]:
    """Boxes by label, volumes, one run against another, readers, reliability."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        for metric in shown_metrics(found):
            yield finished(f"boxes-{safe(metric)}", *_boxes(found, metric))
        for place, run in enumerate(found.runs):
            drawn = _volumes(run, found)
            if drawn is not None:
                stem = "volumes" if len(found.runs) == 1 else f"volumes-{place + 1}"
                yield finished(stem, *drawn)
        if len(found.runs) == 2 and found.headline is not None:
            yield finished("case-against-case", *_against(found, found.headline))
        if (drawn := among_readers(found)) is not None:
            yield finished("among-readers", *drawn)
        if (drawn := reliability_curves(found)) is not None:
            yield finished("reliability", *drawn)


def shown_metrics(found: Gathered) -> list[str]:
    """Dice, HD95 and surface Dice where they were asked for; else the first metric."""
    known = found.metrics
    starts = (next((m for m in known if m.startswith(start)), None) for start in _STARTS)
    return [metric for metric in starts if metric is not None] or list(known[:1])


def _values(run: RunSaid, metric: str, label: str) -> list[float]:
    told = (values_of(record, metric).get(label) for record in run.records.values())
    return [value for value in told if value is not None]


def _drawn_labels(found: Gathered, metric: str) -> list[str]:
    """All labels, or the few whose mean is worst, in the order of the table."""
    means = {}
    for label in found.labels:
        values = [v for run in found.runs for v in _values(run, metric, label)]
        if values:
            means[label] = float(np.mean(values)) * (1 if higher_is_better(metric) else -1)
    kept = set(sorted(means, key=lambda label: means[label])[:MOST_LABELS])
    return [label for label in means if label in kept]


def _boxes(found: Gathered, metric: str) -> tuple[Figure, str]:
    labels = _drawn_labels(found, metric)
    wide = max(3.4, 1.0 + 0.55 * len(labels) * (len(found.runs) + 0.6))
    figure, (axes,) = canvas(1, side=(wide, 3.1))
    count = len(found.runs)
    for place, run in enumerate(found.runs):
        ink = INKS[place % len(INKS)]
        for spot, label in enumerate(labels):
            x = spot + (place - (count - 1) / 2) * 0.8 / count
            _box(axes, (x, 0.5 / count), _values(run, metric, label), ink)
        axes.plot([], [], "s", color=ink, label=named(run))
    axes.set_xticks(
        range(len(labels)), list(map(short, labels)), rotation=0 if len(labels) < 4 else 30
    )
    axes.set_xlim(-0.6, max(1, len(labels)) - 0.4)
    axes.set_ylabel(metric_label(metric))
    axes.grid(axis="x", visible=False)
    if len(found.runs) > 1:
        legend(axes)
    some = "" if len(labels) == len(found.labels) else f", of the {len(labels)} worst labels"
    told = f"{metric_label(metric)} of each study by label{some}."
    return figure, f"{told} Boxes are quartiles, whiskers reach 1.5 interquartile ranges."


def _box(axes: Axes, place: tuple[float, float], values: Sequence[float], ink: str) -> None:
    """A box of a place and width, with its points beside each other so that all are seen."""
    if not values:
        return
    x, width = place
    axes.boxplot(
        [values], positions=[x], widths=width, showfliers=False, manage_ticks=False,
        boxprops={"color": ink}, medianprops={"color": ink, "linewidth": 2},
        whiskerprops={"color": ink}, capprops={"color": ink},
    )  # fmt: skip
    moved = x + np.random.default_rng(0).uniform(-0.35, 0.35, len(values)) * width
    axes.plot(moved, values, ".", color=ink, alpha=0.5, markersize=6, markeredgewidth=0)


def _volumes(run: RunSaid, found: Gathered) -> tuple[Figure, str] | None:
    pairs = {label: volume_pairs(run, label) for label in found.labels}
    pairs = {label: known for label, known in pairs.items() if len(known) > 1}
    if not pairs:
        return None
    names = list(pairs)[:MOST_LABELS]
    figure, panels = canvas(min(len(names), 4), -(-len(names) // 4), (2.9, 2.7))
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, label in zip(panels, names, strict=False):
        mine, theirs = np.array(pairs[label]).T
        axes.plot((mine + theirs) / 2, mine - theirs, ".", color=INKS[0], alpha=0.6)
        limits = bland_altman(mine, theirs)
        if limits is not None:
            for level, style in ((limits.bias, "-"), (limits.low, "--"), (limits.high, "--")):
                axes.axhline(level, color="#27313c", linestyle=style, linewidth=1)
        axes.axhline(0, color="#b9c2cb", linewidth=0.8)
        axes.set_title(short(label), fontsize=9)
        axes.set_xlabel("mean of both, ml")
    panels[0].set_ylabel("prediction less reference, ml")
    who = f"{named(run)}: " if run.name else ""
    return figure, (
        f"{who}volumes of prediction and reference, after Bland and Altman."
        " Full line: the mean difference; dashed: the limits that 95 % keep within."
    )


def volume_pairs(run: RunSaid, label: str) -> list[tuple[float, float]]:
    """Predicted and reference volume of a label in ml, of studies that have both."""
    return [
        (record["volumes_ml"][0].get(label, 0.0), record["reference_volumes_ml"][label])
        for record in run.records.values()
        if record["state"] == "done" and label in record.get("reference_volumes_ml", {})
    ]


def _against(found: Gathered, metric: str) -> tuple[Figure, str]:
    one, other = found.runs
    figure, (axes,) = canvas(1, side=(3.6, 3.4))
    seen: list[float] = []
    for place, label in enumerate(_drawn_labels(found, metric)):
        known = _pairs(one, other, metric, label)
        if not known:
            continue
        x, y = np.array(known).T
        seen += [*x.tolist(), *y.tolist()]
        ink = INKS[place % len(INKS)]
        axes.plot(
            x, y, ".", color=ink, alpha=0.7, markersize=7, markeredgewidth=0, label=short(label)
        )
    if seen:
        low, high = min(seen), max(seen)
        room = 0.05 * ((high - low) or 1)
        ends = (low - room, high + room)
        axes.plot(ends, ends, color="#8a94a0", linewidth=1, linestyle="--")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        legend(axes)
    axes.set_aspect("equal")
    axes.set_xlabel(f"{metric_label(metric)}, {named(one)}")
    axes.set_ylabel(f"{metric_label(metric)}, {named(other)}")
    told = f"Each point is a label of a study. On the dashed line {named(one)} and {named(other)}"
    return figure, f"{told} are equal; above it the second is higher."


def _pairs(one: RunSaid, other: RunSaid, metric: str, label: str) -> list[tuple[float, float]]:
    """The values of a label in both runs, of studies where both have one."""
    known = []
    for study, record in one.records.items():
        mine = values_of(record, metric).get(label)
        theirs = values_of(other.records.get(study, {}), metric).get(label)
        if mine is not None and theirs is not None:
            known.append((mine, theirs))
    return known


def captions(drawings: Sequence[Drawing]) -> list[dict[str, Any]]:
    """What a page needs of each figure."""
    from medseg.run.report.drawing import data_url

    return [
        {
            "stem": one.stem,
            "caption": one.caption,
            "url": data_url("image/svg+xml", one.files["svg"]),
        }
        for one in drawings
    ]
