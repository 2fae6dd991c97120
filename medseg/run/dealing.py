"""Studies dealt out to this process, a crew of workers or a cluster; the masks are the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from medseg.errors import Caution, MedsegError, PipelineError
from medseg.execution import Crew, Hall, Outcome, Reached, Stations, relay
from medseg.execution.crew import Tell
from medseg.image import Study
from medseg.pipeline import Pipeline, Site
from medseg.run.events import Note, StageStarted, StudyStarted, unheard
from medseg.run.folder import signed
from medseg.run.job import Job
from medseg.run.records import Record, versions
from medseg.run.site import limits_of, place_of, settled
from medseg.step import Step

Ended = Generator[Outcome[Study, Record], None, None]
Workers = Hall[Study, Record] | Reached[Study, Record]
Hands = Callable[["Deal"], Ended]


@dataclass(frozen=True)
class Deal:
    """Studies as they are asked for, ``most`` at the most."""

    studies: Iterable[Study]
    most: int


@contextmanager
def dealing(job: Job, most: int) -> Iterator[Hands]:
    """Who does the studies of a deal, as the site wants it, ``most`` at once at the most.

    Workers are started by the first deal, and wait for the next one with what they have loaded.
    """
    with ExitStack() as stack:
        yield DEALERS[job.site.execution](job, most, stack)


def one_by_one(job: Job, most: int, stack: ExitStack) -> Hands:
    """In this process, one study in the network while its neighbours are read and written."""
    del most, stack

    def deal(one: Deal) -> Ended:
        place = count(1)

        def turn(study: Study) -> None:
            job.watch(StudyStarted(study.name, next(place), one.most))
            job.watch(StageStarted("read"))

        yield from relay(Stations(job.fetch, job.work, job.store, turn, job.beside), one.studies)

    return deal


def dealt_out(job: Job, most: int, stack: ExitStack) -> Hands:
    """By the workers of the site, in order of finishing."""
    hall = stack.enter_context(closing(Hall(crew_of(job, most))))
    return partial(_through, hall, job)


def by_cluster(job: Job, most: int, stack: ExitStack) -> Hands:
    """By the workers of a Dask cluster, in order of finishing."""
    sign = stack.enter_context(signed(job.output.absolute()))
    crew = crew_of(job, most, _Meeting(Path.cwd(), sign, versions()))
    cluster = stack.enter_context(closing(Reached(crew, job.site.cluster)))
    return partial(_through, cluster, job)


def _through(workers: Workers, job: Job, deal: Deal) -> Ended:
    yield from workers.through(iter(deal.studies), _hearing(job, deal))


DEALERS: Mapping[str, Callable[[Job, int, ExitStack], Hands]] = {
    "serial": one_by_one,
    "local": dealt_out,
    "dask": by_cluster,
}


def _hearing(job: Job, deal: Deal) -> Callable[[Study | None, Any], None]:
    place = count(1)

    def hear(study: Study | None, event: Any) -> None:
        if study is None:
            event = Note(event)
        elif isinstance(event, StudyStarted):
            event = replace(event, index=next(place), total=deal.most)
        elif isinstance(event, StageStarted):
            event = replace(event, study=study.name)
        job.watch(event)

    return hear


def crew_of(job: Job, most: int, meeting: _Meeting | None = None) -> Crew[Study, Record]:
    """The workers that a site asks for, ``most`` at most, and what they do."""
    limits = limits_of(job.site)
    making = _Making(replace(job, watch=unheard), meeting)
    return Crew(making, job.site.places[:most], limits.seconds, limits.memory_gib)


def check_site(pipeline: Pipeline, site: Site) -> None:
    """PipelineError E_CONFIG where masks would depend on the worker, or a package is not here."""
    if site.execution == "serial":
        return
    if site.execution == "dask":
        site.cluster.check_packages()
    if any(getattr(step, "precision", "") == "auto" for step in pipeline.inference):
        raise PipelineError(
            "E_CONFIG",
            "precision: auto is decided by the first study, and each worker has a first one;"
            f" say float32 or bfloat16 for execution: {site.execution}",
        )


@dataclass(frozen=True)
class _Meeting:
    """What a worker of another machine has to have in common with the run."""

    folder: Path
    sign: Path
    versions: Mapping[str, str]

    def check(self) -> None:
        """Go to the folder of the run; MedsegError E_CLUSTER where masks would not be its own."""
        ours = self.versions.items()
        if others := [f"{n} {versions()[n]}, not {one}" for n, one in ours if versions()[n] != one]:
            raise MedsegError("E_CLUSTER", f"a worker has {', '.join(others)}")
        if not self.sign.exists():
            raise MedsegError("E_CLUSTER", "a worker does not see this folder", self.sign.parent)
        try:
            os.chdir(self.folder)
        except OSError as error:
            told = f"a worker cannot go to the folder of the run ({error.strerror})"
            raise MedsegError("E_CLUSTER", told, self.folder) from error


@dataclass(frozen=True)
class _Making:
    """What a worker does first: the pipeline on its own device."""

    job: Job
    meeting: _Meeting | None = None

    def __call__(self, place: str, tell: Tell) -> _Work:
        if self.meeting is not None:
            self.meeting.check()
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
