"""What every figure is drawn on, and how it becomes SVG for pages and PDF for papers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.run.report.gathering import RunSaid
from medseg.run.report.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS = ("#1f5f99", "#c2571a", "#3d8b55", "#7a4fa3", "#a3312f", "#6b6b2a", "#2a7f8a", "#8a5a2a")
MOST_LABELS = 8
"""More labels than these are told in tables alone: those that did worst are drawn."""
STYLE = {
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


def finished(stem: str, figure: Figure, caption: str) -> Drawing:
    """The figure's files; names in it are text."""
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


def canvas(
    columns: int, rows: int = 1, side: tuple[float, float] = (3.4, 3.1)
) -> tuple[Figure, list[Axes]]:
    """A figure of columns and rows, each ``side`` inches wide and high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side[0] * columns, side[1] * rows))
    FigureCanvasAgg(figure)
    # Long names make the picture larger, and never the axes smaller: it is cut out as it is saved.
    room = {"wspace": 0.3, "hspace": 0.55}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=room)
    return figure, list(axes.ravel())


def named(run: RunSaid) -> str:
    """What a run is called in a figure."""
    return short(run.name or "prediction")


def legend(axes: Axes) -> None:
    """Above the axes, where no point lies."""
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
