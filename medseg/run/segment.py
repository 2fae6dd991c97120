"""The corridor: from a scan to its mask, for every verb alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from medseg.errors import Caution
from medseg.image import Grid, LabelMap, Labels, Volume
from medseg.image.box import box_around
from medseg.image.resampling import axis_maps, resample, resample_labels
from medseg.image.splines import Apart
from medseg.inference import EVERYTHING, Asked, Limits, Scores
from medseg.metrics.quality import agreement
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

    ``scores`` are kept where the pipeline asks for probabilities, which are those at
    ``temperature``; ``agreement`` is by label the mean Dice of all pairs of networks, before they
    were averaged.
    """

    mask: LabelMap
    seconds: Mapping[str, float]
    cautions: tuple[Caution, ...] = ()
    scores: Scores | None = None
    temperature: float = 1.0
    agreement: Mapping[str, float | None] = field(default_factory=dict)


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
    made = _decided(image, grid, pipeline, clock, limits)
    with clock.stage("postprocess"):
        mask = through(pipeline.postprocess, made.mask)
    cautions = made.cautions
    if not mask.data.any():
        cautions += (Caution("W_EMPTY_MASK", "no label was found in this scan"),)
    return replace(made, mask=mask, cautions=cautions)


def scored(
    image: Volume, pipeline: Pipeline, clock: Clock | None = None, limits: Limits = EVERYTHING
) -> Scores:
    """What the networks say of a preprocessed image together, refined where that is asked for."""
    return _scored(image, pipeline, clock or Clock(), limits)[0]


def _decided(
    image: Volume, grid: Grid, pipeline: Pipeline, clock: Clock, limits: Limits
) -> Segmentation:
    """The mask on ``grid``: streamed where one network says all, else from the whole of scores."""
    step = streamed(pipeline, image.grid, grid)
    if step is not None:
        with clock.stage("inference"):
            mask, cautions = step.decided_on(
                image, pipeline.labels, grid, lambda: clock.stage("decision"), limits
            )
        return Segmentation(mask, clock.seconds, cautions)
    scores, agreed = _scored(image, pipeline, clock, limits)
    with clock.stage("decision"):
        mask = scores.decided_on(grid)
    kept = replace(scores, data=scores.data.cpu()) if pipeline.keeps_scores else None
    # What was refined has its temperature already.
    temperature = 1.0 if pipeline.refine else pipeline.calibration.temperature
    return Segmentation(mask, clock.seconds, scores.cautions, kept, temperature, agreed)


def _scored(
    image: Volume, pipeline: Pipeline, clock: Clock, limits: Limits
) -> tuple[Scores, Mapping[str, float | None]]:
    with clock.stage("inference"):
        scores, agreed = _averaged(image, pipeline, limits)
    if pipeline.refine:
        from medseg.inference.probabilities import calibrated

        with clock.stage("refine"):
            scores = calibrated(scores, pipeline.calibration.temperature)
            for better in pipeline.refine:
                scores = better(scores, image)
    return scores, agreed


def _averaged(
    image: Volume, pipeline: Pipeline, limits: Limits
) -> tuple[Scores, Mapping[str, float | None]]:
    """The mean of all networks' scores, and by label how far the networks agree."""
    members: list[LabelMap] = []
    several = len(pipeline.inference) > 1 and pipeline.quality.agreement is not None

    def asked() -> Iterator[Scores]:
        for one in pipeline.inference:
            scores = _scores(one, image, pipeline.labels, limits)
            if several:
                # A mask is all that is kept of one network while others are asked.
                members.append(scores.decided_on(scores.grid))
            yield scores

    scores = Scores.mean(asked())
    return scores, agreement(members) if several else {}


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


def _bare(path: Path) -> Pipeline:
    """A pipeline within another, of which the mask alone is wanted."""
    inner = load_pipeline(path)
    quality = replace(inner.quality, agreement=None)
    return replace(inner, probabilities=None, output=None, quality=quality)


def _joined(image: Volume, scan: Volume, previous: Previous) -> tuple[Volume, tuple[Caution, ...]]:
    """``image`` with a channel of 0 and 1 for each value of another pipeline's mask of the scan."""
    inner = _bare(previous.pipeline)
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
    inner = _bare(within.pipeline)
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
