"""``medseg run``: a pipeline over studies, each ending in a mask or a named error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError
from medseg.execution import Outcome, Stations, relay
from medseg.image import Study
from medseg.io import Found, find_studies
from medseg.pipeline import Pipeline, Site, check_ready, pipeline_digest
from medseg.run.events import Note, StageStarted, State, StudyDone, StudyStarted, Watch, unheard
from medseg.run.folder import held
from medseg.run.instances import write_instances
from medseg.run.job import Job, mask_path
from medseg.run.records import Record, failed, read_record, still_stands, write_record
from medseg.run.site import settled
from medseg.run.sources import Sources, write_sources
from medseg.run.tables import write_tables


@dataclass(frozen=True)
class StudyOutcome:
    """How one study ended; ``record`` is what its JSON says."""

    name: str
    state: State
    seconds: float
    record: Mapping[str, Any]
    error: MedsegError | None = None


@dataclass(frozen=True)
class RunSummary:
    """A whole run: where it wrote, every study's outcome, and what summary.json says."""

    output: Path
    outcomes: tuple[StudyOutcome, ...]
    summary: Mapping[str, Any]

    @property
    def failures(self) -> tuple[StudyOutcome, ...]:
        """The studies without a mask."""
        return tuple(outcome for outcome in self.outcomes if outcome.state == "failed")


@dataclass(frozen=True)
class Plan:
    """What a run would do: the layout found and each study with what would become of it."""

    found: Found
    output: Path
    todo: Mapping[str, bool]
    """For each study's name, whether it would be segmented (or kept as it is)."""


def plan(pipeline: Pipeline, *, overwrite: bool = False) -> Plan:
    """Look, and touch nothing."""
    found, output, digest = _asked(pipeline)
    todo = {
        study.name: overwrite
        or not still_stands(
            read_record(output, study.name),
            study,
            pipeline.input,
            digest,
            mask_path(output, study.name),
        )
        for study in found.studies
    }
    return Plan(found, output, todo)


def predict(
    pipeline: Pipeline,
    site: Site | None = None,
    *,
    overwrite: bool = False,
    watch: Watch = unheard,
) -> RunSummary:
    """Segment every study of ``pipeline.input`` and write masks, records and tables.

    Studies that an earlier run finished from the same files with the same pipeline are kept.
    Raises InputError, OutputError, ModelError or PipelineError before any work; a study's own
    failure is in its outcome.
    """
    site = site or Site()
    pipeline = settled(pipeline, site)
    found, output, digest = _asked(pipeline)
    check_ready(pipeline)
    count = len(found.studies)
    told = f"{count} {'study' if count == 1 else 'studies'} found as {found.layout}"
    for note in (told, *found.notes):
        watch(Note(note))
    outcomes: list[StudyOutcome] = []
    with held(output):
        try:
            _work_through(Job(pipeline, site, output, digest, overwrite, watch), found, outcomes)
        finally:
            # An interrupted run has its tables too, of what was done until then.
            records = [dict(outcome.record) for outcome in outcomes]
            summary = write_tables(output, records)
            write_instances(output, records)
            write_sources(output, _sources(pipeline))
    return RunSummary(output, tuple(outcomes), summary)


def _sources(pipeline: Pipeline) -> Sources:
    where = pipeline.input
    return Sources(
        where.path,
        where.reference,
        channels=tuple(where.channels),
        labels=pipeline.labels,
        options=where,
    )


def _work_through(job: Job, found: Found, outcomes: list[StudyOutcome]) -> None:
    total = len(found.studies)
    place = {study.name: index for index, study in enumerate(found.studies, 1)}

    def turn(study: Study) -> None:
        job.watch(StudyStarted(study.name, place[study.name], total))
        job.watch(StageStarted("read"))

    stations = Stations(job.fetch, job.work, job.store, turn, job.beside)
    for done in relay(stations, found.studies):
        outcome = _closed(job.output, done)
        outcomes.append(outcome)
        said = str(outcome.error) if outcome.error else ""
        job.watch(StudyDone(outcome.name, outcome.state, outcome.seconds, said))


def _closed(output: Path, done: Outcome[Study, Record]) -> StudyOutcome:
    """The outcome for the caller; the record of a failure is written here."""
    name = done.item.name
    if done.error is not None:
        # A mask of another pipeline or of another scan must not stand for this one.
        mask_path(output, name).unlink(missing_ok=True)
        record = failed(done.item, done.error)
        write_record(output, record)
        return StudyOutcome(name, "failed", done.seconds, record, done.error)
    record = dict(done.result or {})
    state: State = "kept" if record.pop("kept", False) else "done"
    return StudyOutcome(name, state, done.seconds, record)


def _asked(pipeline: Pipeline) -> tuple[Found, Path, str]:
    where = pipeline.input
    if where.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path; give --input")
    found = find_studies(
        where.path, reference=where.reference, channels=where.channels, series=where.series
    )
    output = pipeline.output_options.path or Path("out") / pipeline.name
    return found, output, pipeline_digest(pipeline)
