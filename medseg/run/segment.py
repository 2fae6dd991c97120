"""The corridor: from a scan to its mask, for every verb alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from medseg.errors import Caution, StudyError
from medseg.image import Grid, LabelMap, Volume
from medseg.image.box import box_around
from medseg.image.resampling import resample
from medseg.inference import Scores
from medseg.pipeline import Pipeline, Within, load_pipeline
from medseg.step import through


@dataclass
class Clock:
    """Seconds of each stage; ``hear`` is told when one begins."""

    hear: Callable[[str], object] = str
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        self.hear(name)
        begun = perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - begun


@dataclass(frozen=True)
class Segmentation:
    """A mask on the scan's own grid, the seconds of each stage, and what should be known."""

    mask: LabelMap
    seconds: Mapping[str, float]
    cautions: tuple[Caution, ...] = ()


def segment(
    scan: Volume,
    pipeline: Pipeline,
    clock: Clock | None = None,
    memory_gib: float | None = None,
) -> Segmentation:
    """Preprocess, ask the models, refine what they say, decide on the scan's own grid, clean up.

    Raises StudyError where the scan cannot be done, E_TOO_LARGE before a network is asked if
    the scores alone would pass ``memory_gib``.
    """
    clock = clock or Clock()
    image, cautions = prepared(scan, pipeline, clock)
    _refuse_too_large(image.grid, pipeline, memory_gib)
    with clock.stage("inference"):
        scores = Scores.mean(step(image, pipeline.labels) for step in pipeline.inference)
    if pipeline.refine:
        with clock.stage("refine"):
            for step in pipeline.refine:
                scores = step(scores, image)
    with clock.stage("decision"):
        mask = scores.decided_on(scan.grid)
    with clock.stage("postprocess"):
        mask = through(pipeline.postprocess, mask)
    cautions += scores.cautions
    if not mask.data.any():
        cautions += (Caution("W_EMPTY_MASK", "no label was found in this scan"),)
    return Segmentation(mask, clock.seconds, cautions)


def prepared(
    scan: Volume, pipeline: Pipeline, clock: Clock | None = None
) -> tuple[Volume, tuple[Caution, ...]]:
    """The scan as the networks see it: cropped ``within``, then preprocessed."""
    clock = clock or Clock()
    cautions: tuple[Caution, ...] = ()
    if pipeline.within is not None:
        with clock.stage("within"):
            scan, cautions = _cropped(scan, pipeline.within)
    with clock.stage("preprocess"):
        return through(pipeline.preprocess, scan), cautions


def _cropped(scan: Volume, within: Within) -> tuple[Volume, tuple[Caution, ...]]:
    inner = load_pipeline(within.pipeline)
    mask = segment(scan, inner).mask
    chosen = np.zeros(mask.data.shape, bool)
    for name in within.labels or mask.labels.names:
        chosen |= mask.where(name)
    # A margin is never cut short: part of a voxel counts as one.
    margin = [int(np.ceil(within.margin_mm / side)) for side in scan.grid.spacing_mm]
    box = box_around(chosen, margin)
    if box is None:
        told = f"{inner.name} found nothing to crop to; the whole scan was taken"
        return scan, (Caution("W_EMPTY_MASK", told),)
    return resample(scan, scan.grid.cropped(*box)), ()


def _refuse_too_large(grid: Grid, pipeline: Pipeline, memory_gib: float | None) -> None:
    if memory_gib is None:
        return
    # Logits and one passing copy of them, in float32. Refining keeps what it began with as well,
    # and some more of each voxel.
    channels = pipeline.labels.channels
    floats = 3 * channels + 32 if pipeline.refine else 2 * channels
    wanted = 4 * floats * float(np.prod(grid.shape)) / 2**30
    if wanted > memory_gib:
        raise StudyError(
            "E_TOO_LARGE",
            f"{pipeline.labels.channels} channels on {'x'.join(map(str, grid.shape))} voxels need"
            f" {wanted:.1f} GiB and limits.memory_gib is {memory_gib:.1f}; use a coarser spacing,"
            " 'within', or a larger limit",
        )
