"""Figures of a cohort by matplotlib (extra ``report``), as SVG for pages and PDF for papers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.metrics.statistics import bland_altman
from medseg.run.report.gathering import Gathered, RunSaid, higher_is_better, values_of
from medseg.run.report.words import metric_label, safe, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INKS = ("#1f5f99", "#c2571a", "#3d8b55", "#7a4fa3", "#a3312f", "#6b6b2a", "#2a7f8a", "#8a5a2a")
_STARTS = ("dice", "hd95", "nsd")
_LABELS = 8
"""More labels than these are told in tables alone: those that did worst are drawn."""
_STYLE = {
    "svg.hashsalt": "medseg",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": "#27313c",
    "xtick.color": "#27313c",
    "ytick.color": "#27313c",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e7ebef",
}


@dataclass(frozen=True)
class Drawing:
    """A figure: the stem of its files, a caption, and its bytes by ending."""

    stem: str
    caption: str
    files: Mapping[str, bytes]


def figures(found: Gathered) -> Iterator[Drawing]:
    """Boxes by label, Bland and Altman's volumes, and one run against another."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        for metric in shown_metrics(found):
            yield _finished(f"boxes-{safe(metric)}", *_boxes(found, metric))
        for place, run in enumerate(found.runs):
            drawn = _volumes(run, found)
            if drawn is not None:
                stem = "volumes" if len(found.runs) == 1 else f"volumes-{place + 1}"
                yield _finished(stem, *drawn)
        if len(found.runs) == 2 and found.headline is not None:
            yield _finished("case-against-case", *_against(found, found.headline))


def shown_metrics(found: Gathered) -> list[str]:
    """Dice, HD95 and surface Dice where they were asked for; else the first metric."""
    known = found.metrics
    starts = (next((m for m in known if m.startswith(start)), None) for start in _STARTS)
    return [metric for metric in starts if metric is not None] or list(known[:1])


def _finished(stem: str, figure: Figure, caption: str) -> Drawing:
    from matplotlib.text import Text

    for one in figure.findobj(Text):
        # Names of studies and labels are no formulae.
        one.set_parse_math(False)
    files = {}
    for ending, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
        written = io.BytesIO()
        figure.savefig(written, format=ending, metadata=metadata, bbox_inches="tight")
        files[ending] = written.getvalue()
    return Drawing(stem, caption, files)


def _figure(
    columns: int, rows: int = 1, side: tuple[float, float] = (3.4, 3.1)
) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side[0] * columns, side[1] * rows))
    FigureCanvasAgg(figure)
    # Long names make the picture larger, and never the axes smaller: it is cut out as it is saved.
    room = {"wspace": 0.3, "hspace": 0.55}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=room)
    return figure, list(axes.ravel())


def _named(run: RunSaid) -> str:
    return short(run.name or "prediction")


def _legend(axes: Axes) -> None:
    """Above the axes, where no point lies."""
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))


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
    kept = set(sorted(means, key=lambda label: means[label])[:_LABELS])
    return [label for label in means if label in kept]


def _boxes(found: Gathered, metric: str) -> tuple[Figure, str]:
    labels = _drawn_labels(found, metric)
    wide = max(3.4, 1.0 + 0.55 * len(labels) * (len(found.runs) + 0.6))
    figure, (axes,) = _figure(1, side=(wide, 3.1))
    count = len(found.runs)
    for place, run in enumerate(found.runs):
        ink = _INKS[place % len(_INKS)]
        for spot, label in enumerate(labels):
            x = spot + (place - (count - 1) / 2) * 0.8 / count
            _box(axes, (x, 0.5 / count), _values(run, metric, label), ink)
        axes.plot([], [], "s", color=ink, label=_named(run))
    axes.set_xticks(
        range(len(labels)), list(map(short, labels)), rotation=0 if len(labels) < 4 else 30
    )
    axes.set_xlim(-0.6, max(1, len(labels)) - 0.4)
    axes.set_ylabel(metric_label(metric))
    axes.grid(axis="x", visible=False)
    if len(found.runs) > 1:
        _legend(axes)
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
    names = list(pairs)[:_LABELS]
    figure, panels = _figure(min(len(names), 4), -(-len(names) // 4), (2.9, 2.7))
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, label in zip(panels, names, strict=False):
        mine, theirs = np.array(pairs[label]).T
        axes.plot((mine + theirs) / 2, mine - theirs, ".", color=_INKS[0], alpha=0.6)
        limits = bland_altman(mine, theirs)
        if limits is not None:
            for level, style in ((limits.bias, "-"), (limits.low, "--"), (limits.high, "--")):
                axes.axhline(level, color="#27313c", linestyle=style, linewidth=1)
        axes.axhline(0, color="#b9c2cb", linewidth=0.8)
        axes.set_title(short(label), fontsize=9)
        axes.set_xlabel("mean of both, ml")
    panels[0].set_ylabel("prediction less reference, ml")
    who = f"{_named(run)}: " if run.name else ""
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
    figure, (axes,) = _figure(1, side=(3.6, 3.4))
    seen: list[float] = []
    for place, label in enumerate(_drawn_labels(found, metric)):
        known = _pairs(one, other, metric, label)
        if not known:
            continue
        x, y = np.array(known).T
        seen += [*x.tolist(), *y.tolist()]
        ink = _INKS[place % len(_INKS)]
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
        _legend(axes)
    axes.set_aspect("equal")
    axes.set_xlabel(f"{metric_label(metric)}, {_named(one)}")
    axes.set_ylabel(f"{metric_label(metric)}, {_named(other)}")
    told = f"Each point is a label of a study. On the dashed line {_named(one)} and {_named(other)}"
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
