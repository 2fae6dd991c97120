"""What segmenting a scan will take of memory, told before the work begins."""

from __future__ import annotations

from math import prod

from medseg.errors import StudyError
from medseg.image import Grid, mask_dtype
from medseg.inference import Asked, Limits
from medseg.inference.limits import GIB
from medseg.pipeline import Pipeline

_FLOAT = 4
_SHARE = 2


def streamed(pipeline: Pipeline, source: Grid, target: Grid) -> Asked | None:
    """The one step whose rows can be decided as they come, or None."""
    from medseg.inference.decision import Painting

    step = pipeline.inference[0]
    alone = len(pipeline.inference) == 1 and not pipeline.refine and not pipeline.keeps_scores
    fits = alone and isinstance(step, Asked) and Painting.possible(source, target, pipeline.labels)
    return step if fits and isinstance(step, Asked) else None


def foreseen(grid: Grid, pipeline: Pipeline) -> Grid | None:
    """The grid that networks will see a scan on, or None where its voxels decide that."""
    if pipeline.within is not None:
        return None
    for step in pipeline.preprocess:
        grid_of = getattr(step, "grid_of", None)
        if grid_of is None:
            return None
        grid = grid_of(grid)
    return grid


def fetched_bytes(channels: int, grid: Grid, pipeline: Pipeline) -> float:
    """What a scan takes while it is read and preprocessed, at most."""
    seen = foreseen(grid, pipeline) or grid
    return float(_FLOAT * channels * (prod(grid.shape) + 2 * prod(seen.shape)))


def check_room(
    channels: int, seen: Grid, scan: Grid, pipeline: Pipeline, limits: Limits
) -> dict[str, float]:
    """Bytes that are held at once, part by part: what networks see and say of a scan, its mask.

    ``seen`` is the preprocessed grid. Raises StudyError E_TOO_LARGE where that passes
    ``limits.memory_gib``; without that limit nothing is counted.
    """
    if limits.memory_gib is None:
        return {}
    parts = _parts(channels, seen, scan, pipeline)
    wanted = sum(parts.values()) / GIB
    if wanted <= limits.memory_gib:
        return parts
    told = ", ".join(f"{what} {size / GIB:.2g}" for what, size in parts.items())
    raise StudyError(
        "E_TOO_LARGE",
        f"{pipeline.labels.channels} channels on {_by(seen)} voxels need {wanted:.3g} GiB for"
        f" a scan of {_by(scan)} ({told}), and limits.memory_gib is {limits.memory_gib:.3g}; use a"
        " coarser spacing, a smaller window, 'within', or a larger limit",
    )


def _parts(channels: int, seen: Grid, scan: Grid, pipeline: Pipeline) -> dict[str, float]:
    labels = pipeline.labels
    parts: dict[str, float] = {
        "its mask": mask_dtype(labels)().itemsize * prod(scan.shape),
    }
    step = streamed(pipeline, seen, scan)
    asked = [one for one in pipeline.inference if isinstance(one, Asked)]
    needs = [one.need(channels, seen, labels) for one in asked]
    if needs:
        parts["the preprocessed"] = needs[0].image
        parts["windows added up"] = max(need.held for need in needs)
        parts["the network"] = max(need.total - need.image - need.held for need in needs)
    if step is None:
        # Probabilities and a copy that is passing; refining keeps what it began with as well,
        # and some more of each voxel.
        copies = 3 * labels.channels + 32 if pipeline.refine else 2 * labels.channels
        parts["probabilities"] = _FLOAT * copies * prod(seen.shape)
        if pipeline.keeps_scores:
            # Those of the study before are judged while this one is segmented.
            parts["probabilities kept"] = _FLOAT * labels.channels * prod(seen.shape)
    if pipeline.output_options.probabilities:
        parts["probabilities of the scan"] = _SHARE * len(labels) * prod(scan.shape)
    return parts


def _by(grid: Grid) -> str:
    return "x".join(map(str, grid.shape))
