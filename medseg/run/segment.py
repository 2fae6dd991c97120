"""The corridor: from a scan to its mask, for every verb alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution
from medseg.image import Grid, LabelMap, Labels, Volume
from medseg.image.box import box_around
from medseg.image.resampling import axis_maps, resample, resample_labels
from medseg.image.splines import Apart
from medseg.inference import EVERYTHING, Asked, Limits, Scores
from medseg.pipeline import Pipeline, Previous, Within, load_pipeline
from medseg.run.room import check_room, streamed
from medseg.step import through


@dataclass
class Clock:
    """Seconds of each stage; ``hear`` is told when one begins.

    A stage within another is counted for itself alone, and what was heard once is not told again.
    """

    hear: Callable[[str], object] = str
    seconds: dict[str, float] = field(default_factory=dict)
    _inner: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        if name not in self.seconds:
            self.hear(name)
        before, self._inner = self._inner, 0.0
        begun = perf_counter()
        yield
        spent = perf_counter() - begun
        self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner
        self._inner = before + spent


@dataclass(frozen=True)
class Segmentation:
    """A mask on the scan's own grid, the seconds of each stage, and what should be known.

    ``probabilities (X, Y, Z, L)`` are shares of 65535 for each label, where the pipeline's output
    asks for them.
    """

    mask: LabelMap
    seconds: Mapping[str, float]
    cautions: tuple[Caution, ...] = ()
    probabilities: NDArray[np.uint16] | None = None


def segment(
    scan: Volume,
    pipeline: Pipeline,
    clock: Clock | None = None,
    limits: Limits = EVERYTHING,
) -> Segmentation:
    """Preprocess, ask the models, refine what they say, decide on the scan's own grid, clean up.

    Raises StudyError where the scan cannot be done, E_TOO_LARGE before a network is asked if
    what is held would pass ``limits``.
    """
    clock = clock or Clock()
    image, cautions = prepared(scan, pipeline, clock)
    answer = answered(image, scan.grid, pipeline, clock, limits)
    return replace(answer, cautions=(*cautions, *answer.cautions))


def answered(
    image: Volume, grid: Grid, pipeline: Pipeline, clock: Clock, limits: Limits = EVERYTHING
) -> Segmentation:
    """The second half of ``segment``: from the preprocessed ``image`` to a mask on ``grid``."""
    check_room(image.channels, image.grid, grid, pipeline, limits)
    mask, cautions, shares = _decided(image, grid, pipeline, clock, limits)
    with clock.stage("postprocess"):
        mask = through(pipeline.postprocess, mask)
    if not mask.data.any():
        cautions += (Caution("W_EMPTY_MASK", "no label was found in this scan"),)
    return Segmentation(mask, clock.seconds, cautions, shares)


def scored(
    image: Volume, pipeline: Pipeline, clock: Clock | None = None, limits: Limits = EVERYTHING
) -> Scores:
    """What the networks say of a preprocessed image together, refined where that is asked for."""
    clock = clock or Clock()
    with clock.stage("inference"):
        scores = Scores.mean(
            _scores(one, image, pipeline.labels, limits) for one in pipeline.inference
        )
    if pipeline.refine:
        from medseg.inference.probabilities import calibrated

        with clock.stage("refine"):
            scores = calibrated(scores, pipeline.calibration.temperature)
            for better in pipeline.refine:
                scores = better(scores, image)
    return scores


def _decided(
    image: Volume, grid: Grid, pipeline: Pipeline, clock: Clock, limits: Limits
) -> tuple[LabelMap, tuple[Caution, ...], NDArray[np.uint16] | None]:
    """The mask on ``grid``: streamed where one network says all, else from the whole of scores."""
    step = streamed(pipeline, image.grid, grid)
    if step is not None:
        with clock.stage("inference"):
            mask, cautions = step.decided_on(
                image, pipeline.labels, grid, lambda: clock.stage("decision"), limits
            )
        return mask, cautions, None
    scores = scored(image, pipeline, clock, limits)
    with clock.stage("decision"):
        shares = _shares(scores, grid, pipeline)
        return scores.decided_on(grid), scores.cautions, shares


def _shares(scores: Scores, grid: Grid, pipeline: Pipeline) -> NDArray[np.uint16] | None:
    if not pipeline.output_options.probabilities:
        return None
    from medseg.inference.probabilities import probabilities_on

    # What was refined has its temperature already.
    temperature = 1.0 if pipeline.refine else pipeline.calibration.temperature
    return probabilities_on(scores, grid, temperature)


def _scores(step: Any, image: Volume, labels: Labels, limits: Limits) -> Scores:
    if isinstance(step, Asked):
        return step(image, labels, limits)
    # A step of another package knows nothing of budgets.
    scores: Scores = step(image, labels)
    return scores


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
        image = through(pipeline.preprocess, scan)
    if pipeline.previous is not None:
        with clock.stage("previous"):
            image, more = _joined(image, scan, pipeline.previous)
        cautions += more
    return image, cautions


def _joined(image: Volume, scan: Volume, previous: Previous) -> tuple[Volume, tuple[Caution, ...]]:
    """``image`` with a channel of 0 and 1 for each value of another pipeline's mask of the scan."""
    inner = load_pipeline(previous.pipeline)
    done = segment(scan, inner)
    mask = resample_labels(done.mask, image.grid, _apart(scan.grid, image.grid, previous))
    found = [mask.data == value for value in sorted(inner.labels.values)]
    data = np.concatenate([image.data, np.stack(found).astype(np.float32)])
    return Volume(data, image.grid), done.cautions


def _apart(before: Grid, after: Grid, previous: Previous) -> Apart | None:
    maps = axis_maps(after, before)
    if previous.coarse_axis is None or maps is None:
        return None
    sides = [before.spacing_mm[one.source] for one in maps]
    pixdim = previous.pixdim or after.spacing_mm
    wanted = [s if p is None else p for s, p in zip(sides, pixdim, strict=True)]
    return previous.coarse_axis.apart(sides, wanted)


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
