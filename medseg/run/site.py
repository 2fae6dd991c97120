"""Where and how the work runs: a site applied to a pipeline, never changing what it means."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from medseg.execution.crew import machine_gib
from medseg.inference import Limits
from medseg.pipeline import Pipeline, Site
from medseg.step import Step

_KEPT_GIB, _KEPT_SHARE = 0.5, 1 / 16
"""How much freed memory a process keeps at most, and which part of what a study may take."""


def settled(pipeline: Pipeline, site: Site) -> Pipeline:
    """The pipeline within the site's limits and on its device.

    Threads and determinism are set for this process.

    Raises PipelineError E_CONFIG where a device is asked for that this machine has not.
    """
    import torch

    from medseg.compiled import use_threads
    from medseg.models.device import device_named, keep_freed_memory

    if site.threads is not None:
        torch.set_num_threads(site.threads)
        use_threads(site.threads)
    # To be told so torch loads its compiler, half of all the start: only where it is news.
    if pipeline.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(pipeline.deterministic, warn_only=True)
    if pipeline.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    moved = pipeline.inference
    # A device of other machines is looked for there.
    if site.device != "auto" and not site.away:
        moved = tuple(_moved(step, site.device) for step in moved)
    for step in moved:
        # A device that is not there is told now, not by the first study.
        device = device_named(getattr(step, "device", "cpu"))
        if device.type == "cpu" and getattr(step, "engine", None) in {"torch", "auto"}:
            keep_freed_memory(min(_KEPT_GIB, _KEPT_SHARE * (limits_of(site).memory_gib or 0)))
    return replace(bounded(pipeline, site), inference=moved)


def bounded(pipeline: Pipeline, site: Site) -> Pipeline:
    """The pipeline, which reads no larger studies than the site allows."""
    place, limits = pipeline.input, limits_of(site)
    place = replace(
        place,
        memory_gib=_least(place.memory_gib, limits.memory_gib),
        voxels=_least(place.voxels, limits.voxels),
    )
    return replace(pipeline, input=place)


def _least(*limits: float | None) -> float | None:
    return min((one for one in limits if one is not None), default=None)


def _moved(step: Any, device: str) -> Step:
    """The step on another device, if it knows about devices and its engine has a choice."""
    engine = getattr(step, "engine", "torch")
    free = hasattr(step, "device") and engine not in {"openvino", "onnxruntime"}
    moved: Step = replace(step, device=device) if free else step
    return moved


def limits_of(site: Site) -> Limits:
    """The site's limits; where it says nothing of memory, each worker's part of nine tenths.

    Workers of other machines know best how much there is.
    """
    if site.limits.memory_gib is not None or site.away:
        return site.limits
    return replace(site.limits, memory_gib=0.9 * machine_gib() / len(site.places))


def place_of(site: Site, device: str) -> Site:
    """The site as one worker has it: with one device, and its part of threads and memory."""
    threads = site.threads or max(1, len(os.sched_getaffinity(0)) // len(site.places))
    limits = replace(limits_of(site), seconds=None)
    return Site(device=device, threads=threads, limits=limits)
