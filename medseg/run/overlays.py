"""Slices of scans with the contours of mask and reference, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap, Labels, Volume

PANELS = 4
"""How many studies a picture shows."""
_COLOURS = ("#e41a1c", "#377eb8", "#4daf4a", "#984ea3", "#ff7f00", "#a65628", "#f781bf")


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice (X, Y) of a study: the image, the masks, and how long its voxels are."""

    name: str
    image: NDArray[Any]
    reference: NDArray[Any]
    mask: NDArray[Any]
    aspect: float


def panel(name: str, scan: Volume, reference: LabelMap, mask: LabelMap) -> Panel:
    """The slice across the third axis with most of the reference."""
    inside = np.isin(reference.data, sorted(reference.labels.values))
    z = int(inside.sum((0, 1)).argmax()) if inside.any() else scan.grid.shape[2] // 2
    x_mm, y_mm, _ = scan.grid.spacing_mm
    parts = (scan.data[0, :, :, z], reference.data[:, :, z], mask.data[:, :, z])
    image, wanted, found = (np.array(part) for part in parts)
    return Panel(name, image, wanted, found, y_mm / x_mm)


def overlays_png(panels: Sequence[Panel], labels: Labels) -> bytes:
    """References dashed and masks in full lines; needs matplotlib (extra ``report``)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(3.2 * len(panels), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    colours = [
        label.colour or _COLOURS[place % len(_COLOURS)] for place, label in enumerate(labels)
    ]
    for axes, one in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        low, high = np.percentile(one.image, (1, 99)).tolist()
        axes.imshow(one.image.T, cmap="gray", vmin=low, vmax=high, origin="lower",
                    aspect=one.aspect)  # fmt: skip
        for label, colour in zip(labels, colours, strict=True):
            for data, style in ((one.reference, "dashed"), (one.mask, "solid")):
                where = np.isin(data, label.values).T
                if where.any() and not where.all():
                    axes.contour(where, levels=[0.5], colors=[colour], linestyles=[style],
                                 linewidths=1)  # fmt: skip
        axes.set_title(one.name, fontsize=9)
        axes.set_axis_off()
    handles = [Line2D([], [], color=c, label=n) for c, n in zip(colours, labels.names, strict=True)]
    handles += [Line2D([], [], color="0.3", linestyle="dashed", label="reference")]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    return picture.getvalue()
