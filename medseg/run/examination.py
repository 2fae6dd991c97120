"""One look at a labelled study: what is wrong with it, and what a plan wants to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Grid, Label, LabelMap, Labels, Study, Volume
from medseg.image.box import box_around
from medseg.image.labels import HIGHEST_VALUE
from medseg.io import ReadOptions, read_label_values, read_labels, read_scan

_SAMPLES = 2000
"""Voxels of the foreground that are remembered of every channel."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a labelled study: axes are RAS, lengths mm.

    ``digest`` is that of the voxels, however they are packed. ``samples (C, N)`` are intensities
    inside the labels, ``zeros`` the share of voxels that are 0 in the first channel. ``voxels``
    counts those of each value, ``pieces`` the connected components of each label by its name.
    ``extent_mm`` is the box around all labels.
    """

    name: str
    digest: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    lowest: float
    zeros: float
    samples: NDArray[np.float32]
    voxels: Mapping[int, int]
    pieces: Mapping[str, int]
    extent_mm: tuple[float, float, float] | None


@dataclass(frozen=True)
class Examined:
    """A study that was looked at: what was seen where it is sound, or what is wrong.

    ``volumes_ml`` are those of the mask's values, without 0.
    """

    study: Study
    seen: Seen | None = None
    errors: tuple[StudyError, ...] = ()
    digest: str = ""
    volumes_ml: Mapping[int, float] = field(default_factory=dict)


def examined(study: Study, options: ReadOptions, labels: Labels | None, whole: bool) -> Examined:
    """Read scan and mask through the strict door, each fault for itself.

    Without ``labels`` every value of the mask is a label. Where a plan is not asked for, which
    is when ``whole`` is false, nothing is measured.
    """
    errors: list[StudyError] = []
    scan = mask = None
    try:
        scan = read_scan(study, options).frames[0]
    except StudyError as error:
        errors.append(error)
    try:
        mask = _mask(study, options, labels, None if scan is None else scan.grid)
    except StudyError as error:
        errors.append(error)
    if scan is None:
        return Examined(study, errors=tuple(errors))
    digest = _digest(scan)
    if mask is None:
        return Examined(study, errors=tuple(errors), digest=digest)
    counts = np.bincount(mask.data.ravel(order="K"))
    volumes = {int(v): float(counts[v]) * mask.grid.voxel_ml for v in np.flatnonzero(counts) if v}
    return Examined(
        study, _seen(study.name, scan, mask, digest) if whole else None, (), digest, volumes
    )


def _mask(study: Study, options: ReadOptions, labels: Labels | None, like: Grid | None) -> LabelMap:
    assert study.reference is not None
    if labels is None:
        values, _ = read_label_values(study.reference, options)
        there = [int(v) for v in np.unique(values) if 0 < v <= HIGHEST_VALUE]
        labels = labels_of_values(there or [1])
    return read_labels(study.reference, labels, like, options)[0]


def labels_of_values(values: Sequence[int]) -> Labels:
    """A table that calls each value by its number."""
    return Labels(tuple(Label(f"label_{value}", (value,)) for value in values))


def _digest(scan: Volume) -> str:
    """Of the voxels in their order, so that another packing or affine is the same image."""
    found = sha256(repr(scan.data.shape).encode())
    for channel in scan.data:
        found.update(np.ascontiguousarray(channel.T).data)
    return found.hexdigest()


def _seen(name: str, scan: Volume, mask: LabelMap, digest: str) -> Seen:
    turned = scan.grid.oriented("RAS")
    counts = np.bincount(mask.data.ravel(order="K"))
    known = np.isin(mask.data, sorted(mask.labels.values))
    return Seen(
        name=name,
        digest=digest,
        shape=turned.shape,
        spacing_mm=turned.spacing_mm,
        lowest=float(scan.data[0].min()),
        zeros=float((scan.data[0] == 0).mean()),
        samples=_sampled(scan, known),
        voxels={int(v): int(counts[v]) for v in np.flatnonzero(counts) if v},
        pieces={label.name: _pieces(mask.where(label.name)) for label in mask.labels},
        extent_mm=_extent(known, scan.grid),
    )


def _sampled(scan: Volume, known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intensities (C, N) of up to 2000 labelled voxels, spread evenly."""
    places = np.flatnonzero(known)
    places = places[:: max(1, -(-places.size // _SAMPLES))]
    at = np.unravel_index(places, known.shape)
    return np.stack([channel[at] for channel in scan.data])


def _pieces(where: NDArray[np.bool_]) -> int:
    import cc3d

    if not where.any():
        return 0
    _, count = cc3d.connected_components(where, connectivity=26, return_N=True)
    return int(count)


def _extent(known: NDArray[np.bool_], grid: Grid) -> tuple[float, float, float] | None:
    box = box_around(known, (0, 0, 0))
    if box is None:
        return None
    inner = grid.cropped(*box).oriented("RAS")
    sides: Any = tuple(n * side for n, side in zip(inner.shape, inner.spacing_mm, strict=True))
    return sides  # type: ignore[no-any-return]
