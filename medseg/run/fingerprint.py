"""The fingerprint of a data set: shapes, spacings, intensities and class sizes, as data."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from medseg.image import Labels
from medseg.run.examination import Seen

Three = tuple[float, float, float]
SHARES = (0.5, 5.0, 50.0, 95.0, 99.5)


@dataclass(frozen=True)
class Channel:
    """Intensities of one channel inside the labels: mean, deviation and percentiles."""

    name: str
    mean: float
    deviation: float
    percentiles: dict[str, float]


@dataclass(frozen=True)
class Size:
    """One label: in how many studies it is, its median volume, and where it is one piece."""

    name: str
    studies: int
    median_ml: float
    least_ml: float
    most_ml: float
    share_of_voxels: float
    one_piece: int


@dataclass(frozen=True)
class Fingerprint:
    """What a plan goes by; axes are RAS, lengths mm. ``lowest`` is the first channel's median."""

    studies: int
    shapes: tuple[tuple[int, int, int], ...]
    spacings_mm: tuple[Three, ...]
    extents_mm: tuple[Three, ...]
    channels: tuple[Channel, ...]
    labels: tuple[Size, ...]
    lowest: float
    zeros: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """The median shape."""
        x, y, z = (round(median(axis)) for axis in zip(*self.shapes, strict=True))
        return x, y, z

    @property
    def spacing_mm(self) -> Three:
        """The median spacing."""
        x, y, z = (float(median(axis)) for axis in zip(*self.spacings_mm, strict=True))
        return x, y, z

    def to_json(self) -> str:
        """As JSON, with the medians before the single values."""
        said: dict[str, Any] = {"studies": self.studies, "median_shape": self.shape}
        said |= {"median_spacing_mm": self.spacing_mm, **asdict(self)}
        return json.dumps(said, indent=1, allow_nan=False) + "\n"

    def table(self) -> list[tuple[str, ...]]:
        """Rows for a person: what, least, median, most."""
        rows: list[tuple[str, ...]] = [("", "least", "median", "most")]
        for n, axis in enumerate("xyz"):
            rows.append((f"voxels {axis}", *_three([one[n] for one in self.shapes], 0)))
        for n, axis in enumerate("xyz"):
            rows.append((f"spacing {axis} mm", *_three([one[n] for one in self.spacings_mm], 3)))
        for channel in self.channels:
            inner = [channel.percentiles[f"{share:g}"] for share in (0.5, 50, 99.5)]
            rows.append((f"{channel.name} in labels", *(f"{one:.4g}" for one in inner)))
        for size in self.labels:
            inner = [size.least_ml, size.median_ml, size.most_ml]
            rows.append((f"{size.name} ml", *(f"{one:.3f}" for one in inner)))
        return rows


def fingerprint(seen: Sequence[Seen], labels: Labels, channels: Sequence[str]) -> Fingerprint:
    """What the sound studies of a data set have in common; one at least."""
    samples = np.concatenate([one.samples for one in seen], axis=1)
    extents = [one.extent_mm for one in seen if one.extent_mm is not None]
    return Fingerprint(
        studies=len(seen),
        shapes=tuple(one.shape for one in seen),
        spacings_mm=tuple(one.spacing_mm for one in seen),
        extents_mm=tuple(extents),
        channels=tuple(_channel(name, row) for name, row in zip(channels, samples, strict=True)),
        labels=tuple(_size(label.name, label.values, seen) for label in labels),
        lowest=float(median(one.lowest for one in seen)),
        zeros=float(median(one.zeros for one in seen)),
    )


def _channel(name: str, values: Any) -> Channel:
    if values.size == 0:
        return Channel(name, 0.0, 0.0, {f"{share:g}": 0.0 for share in SHARES})
    found = np.percentile(values, SHARES).tolist()
    mean, deviation = float(values.mean(dtype=float)), float(values.std(dtype=float))
    names = [f"{share:g}" for share in SHARES]
    return Channel(name, mean, deviation, dict(zip(names, found, strict=True)))


def _size(name: str, values: Sequence[int], seen: Sequence[Seen]) -> Size:
    counts = [sum(one.voxels.get(value, 0) for value in values) for one in seen]
    litres = [
        count * float(np.prod(one.spacing_mm)) / 1000
        for count, one in zip(counts, seen, strict=True)
    ]
    there = [ml for ml, count in zip(litres, counts, strict=True) if count] or [0.0]
    return Size(
        name=name,
        studies=sum(count > 0 for count in counts),
        median_ml=float(median(there)),
        least_ml=min(there),
        most_ml=max(there),
        share_of_voxels=sum(counts) / sum(int(np.prod(one.shape)) for one in seen),
        one_piece=sum(one.pieces.get(name) == 1 for one in seen),
    )


def _three(values: Sequence[float], digits: int) -> list[str]:
    return [f"{one:.{digits}f}" for one in (min(values), median(values), max(values))]


def fingerprint_png(found: Fingerprint) -> bytes:
    """Shapes, spacings, intensities and volumes as a picture; needs matplotlib (``report``)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    (shapes, spacings), (inside, volumes) = figure.subplots(2, 2)
    for n, axis in enumerate("xyz"):
        shapes.hist([one[n] for one in found.shapes], bins=20, alpha=0.6, label=axis)
        spacings.hist([one[n] for one in found.spacings_mm], bins=20, alpha=0.6, label=axis)
    shapes.set(title="voxels", ylabel="studies")
    spacings.set(title="spacing in mm", ylabel="studies")
    for channel in found.channels:
        inside.plot(SHARES, list(channel.percentiles.values()), marker="o", label=channel.name)
    inside.set(title="intensities inside the labels", xlabel="percentile")
    names = [size.name for size in found.labels]
    middle = np.asarray([size.median_ml for size in found.labels])
    below = middle - [size.least_ml for size in found.labels]
    above = [size.most_ml for size in found.labels] - middle
    volumes.errorbar(middle, range(len(names)), xerr=[below, above], fmt="o", capsize=3)
    volumes.set(title="volumes: least, median, most", xlabel="ml", yticks=range(len(names)))
    volumes.set_yticklabels(names)
    if middle.min() > 0:
        volumes.set_xscale("log")
    for part in (shapes, spacings, inside):
        part.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
