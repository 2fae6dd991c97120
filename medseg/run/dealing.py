"""Studies dealt out to this process or to a crew of workers; the masks are the same."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, fields, replace
from itertools import count
from typing import Any

from medseg.errors import Caution, PipelineError
from medseg.execution import Crew, Outcome, Stations, relay, supervised
from medseg.execution.crew import Tell
from medseg.image import Study
from medseg.pipeline import Pipeline, Site
from medseg.run.events import Event, StageStarted, StudyStarted, unheard
from medseg.run.job import Job
from medseg.run.records import Record
from medseg.run.site import limits_of, place_of, settled
from medseg.step import Step

Ended = Generator[Outcome[Study, Record], None, None]


@dataclass(frozen=True)
class Deal:
    """Studies as they are asked for, ``most`` at the most."""

    studies: Iterable[Study]
    most: int


def one_by_one(job: Job, deal: Deal) -> Ended:
    """In this process, one study in the network while its neighbours are read and written."""
    place = count(1)

    def turn(study: Study) -> None:
        job.watch(StudyStarted(study.name, next(place), deal.most))
        job.watch(StageStarted("read"))

    yield from relay(Stations(job.fetch, job.work, job.store, turn, job.beside), deal.studies)


def dealt_out(job: Job, deal: Deal) -> Ended:
    """By the workers of the site, in order of finishing."""
    place = count(1)

    def hear(study: Study, event: Event) -> None:
        if isinstance(event, StudyStarted):
            event = replace(event, index=next(place), total=deal.most)
        elif isinstance(event, StageStarted):
            event = replace(event, study=study.name)
        job.watch(event)

    yield from supervised(crew_of(job, deal.most), deal.studies, hear)


def crew_of(job: Job, most: int) -> Crew[Study, Record]:
    """The workers that a site asks for, ``most`` at most, and what they do."""
    limits = limits_of(job.site)
    making = _Making(replace(job, watch=unheard))
    return Crew(making, job.site.places[:most], limits.seconds, limits.memory_gib)


def check_steady(pipeline: Pipeline, site: Site) -> None:
    """PipelineError E_CONFIG where masks would depend on which worker has which study."""
    if site.execution == "serial":
        return
    if any(getattr(step, "precision", "") == "auto" for step in pipeline.inference):
        raise PipelineError(
            "E_CONFIG",
            "precision: auto is decided by the first study, and each worker has a first one;"
            " say float32 or bfloat16 for execution: local",
        )


@dataclass(frozen=True)
class _Making:
    """What a worker does first: the pipeline on its own device."""

    job: Job

    def __call__(self, place: str, tell: Tell) -> _Work:
        site = place_of(self.job.site, place)
        return _Work(
            replace(self.job, site=site, pipeline=settled(self.job.pipeline, site), watch=tell)
        )


@dataclass(frozen=True)
class _Work:
    job: Job

    def __call__(self, study: Study, before: str) -> Record:
        job = _smaller(self.job, before) if before else self.job
        if not before:
            job.watch(StudyStarted(study.name, 0, 0))
        job.watch(StageStarted("read"))
        return job.store(study, job.work(study, job.fetch(study)))


def _smaller(job: Job, why: str) -> Job:
    """The job with a window at a time, for a study whose first worker ended."""
    told = f"done at the second attempt ({why})"
    pipeline = job.pipeline
    if not pipeline.deterministic:
        pipeline = replace(pipeline, inference=tuple(map(_alone, pipeline.inference)))
    return replace(job, pipeline=pipeline, cautions=(Caution("W_FALLBACK", told),))


def _alone(step: Any) -> Step:
    found: Step = replace(step, batch=1) if "batch" in {f.name for f in fields(step)} else step
    return found
