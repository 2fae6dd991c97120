"""``medseg run``: a pipeline over studies, each ending in a mask or a named error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError
from medseg.execution import Outcome
from medseg.image import Study
from medseg.io import Found, find_studies, naming_faults
from medseg.pipeline import Pipeline, Site, check_ready, pipeline_digest
from medseg.run.dealing import Deal, Ended, Hands, check_site, dealing
from medseg.run.events import Note, State, StudyDone, Watch, unheard
from medseg.run.exports import check_apart
from medseg.run.folder import held
from medseg.run.job import Job
from medseg.run.journal import JOURNAL, SHARDS, Journal
from medseg.run.packed import Packed, as_json, unpacked
from medseg.run.privacy import Names
from medseg.run.records import Record, failed, write_record
from medseg.run.shards import Shard, claiming, write_plan
from medseg.run.site import settled
from medseg.run.tables import for_tables, summed
from medseg.run.whole import write_all


@dataclass(frozen=True, slots=True)
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


def plan(pipeline: Pipeline, *, overwrite: bool = False, shard: Shard | None = None) -> Plan:
    """Look, and touch nothing; of a shard only at what is its own."""
    found, output, digest = asked_for(pipeline)
    job = Job(pipeline, Site(), output, digest, overwrite, unheard)
    todo = {
        study.name: job.standing(study) is None
        for study in found.studies
        if shard is None or shard.has(study.name)
    }
    found = replace(found, studies=tuple(s for s in found.studies if s.name in todo))
    return Plan(found, output, todo)


@naming_faults()
def predict(
    pipeline: Pipeline,
    site: Site | None = None,
    *,
    overwrite: bool = False,
    shard: Shard | None = None,
    watch: Watch = unheard,
) -> RunSummary:
    """Segment every study of ``pipeline.input`` and write masks, records and tables.

    Studies that an earlier run finished from the same files with the same pipeline are kept.
    A ``shard`` does its part and writes no tables; ``merge`` does when all are done. Raises
    InputError, OutputError, ModelError or PipelineError before any work; a study's own failure
    is in its outcome.
    """
    site = site or Site()
    pipeline = settled(pipeline, site)
    found, output, digest = asked_for(pipeline)
    check_ready(pipeline)
    check_site(pipeline, site)
    count = len(found.studies)
    told = f"{count} {'study' if count == 1 else 'studies'} found as {found.layout}"
    for note in (told, *found.notes):
        watch(Note(note))
    job = Job(pipeline, site, output, digest, overwrite, watch)
    if shard is not None:
        return _sharded(job, found, shard)
    outcomes: list[StudyOutcome] = []
    with held(output):
        write_plan(output, found.studies, digest)
        stopped = True
        try:
            with dealing(job, count) as hands:
                deal = Deal(found.studies, count)
                _work(job, hands(deal), journal_of(job, JOURNAL), outcomes)
            stopped = False
        finally:
            # A run that is stopped has its tables too, of all that stands.
            outcomes.sort(key=lambda outcome: outcome.name)
            summary = write_all(output, _told(job, found.studies, outcomes))
            job.tell_sources()
            if stopped:
                watch(_stop(summary["done"], len(summary["failed"]), count))
    return RunSummary(output, tuple(outcomes), summary)


def _sharded(job: Job, found: Found, shard: Shard) -> RunSummary:
    outcomes: list[StudyOutcome] = []
    mine = [study for study in found.studies if shard.has(study.name)]
    with held(job.output, shared=True), claiming(job.output) as claims:
        write_plan(job.output, found.studies, job.digest)
        job.tell_sources()
        dealt = mine if shard.index else claims.taken(mine)
        journal = journal_of(job, f"{SHARDS}/{shard.name}.jsonl")
        with dealing(job, len(mine)) as hands:
            work_through(job, hands, Deal(dealt, len(mine)), journal, outcomes)
    records = for_tables(unpacked(outcome.record) for outcome in outcomes)
    return RunSummary(job.output, tuple(outcomes), summed(records))


def journal_of(job: Job, name: str) -> Journal:
    """The journal of a job, in a file of its output folder."""
    return Journal.of(job.output / name, job.pipeline, job.digest)


def work_through(
    job: Job, hands: Hands, deal: Deal, journal: Journal, outcomes: list[StudyOutcome]
) -> None:
    """Do the work where the site wants it, adding each outcome as it comes."""
    try:
        _work(job, hands(deal), journal, outcomes)
    except BaseException:
        failures = sum(outcome.state == "failed" for outcome in outcomes)
        job.watch(_stop(len(outcomes) - failures, failures, deal.most))
        raise


def _stop(done: int, failures: int, most: int) -> Note:
    return Note(f"stopped: {done} done, {failures} failed, {most - done - failures} left")


def _work(job: Job, ended: Ended, journal: Journal, outcomes: list[StudyOutcome]) -> None:
    like = b""
    with closing(ended):
        for done in ended:
            outcome = _closed(job, done)
            journal.add(dict(outcome.record), outcome.seconds, outcome.state == "kept")
            # A thousand records are more alike than not, and they are held until the end.
            like = like or as_json(outcome.record)
            outcomes.append(replace(outcome, record=Packed(outcome.record, like)))
            said = str(outcome.error) if outcome.error else ""
            job.watch(StudyDone(outcome.name, outcome.state, outcome.seconds, said))


def _told(job: Job, studies: Sequence[Study], ended: Sequence[StudyOutcome]) -> Iterator[Record]:
    """What tables tell: all that ended, and where a run was stopped, what it had not come to."""
    reached = {outcome.name: outcome.record for outcome in ended}
    for name in sorted(study.name for study in studies):
        if name in reached:
            yield unpacked(reached[name])
        elif known := job.finished(name):
            yield known


def _closed(job: Job, done: Outcome[Study, Record]) -> StudyOutcome:
    """The outcome for the caller; the record of a failure is written here."""
    name = done.item.name
    if done.error is not None:
        error = job.names.error(done.item, done.error)
        record = failed(done.item, error, {"name": job.pipeline.name, "digest": job.digest})
        # What failed may be the reference, or the disk for a moment, and not the mask.
        if job.standing(done.item) is None:
            job.withdraw(name)
            write_record(job.output, record)
        return StudyOutcome(name, "failed", done.seconds, record, error)
    record = dict(done.result or {})
    state: State = "kept" if record.pop("kept", False) else "done"
    return StudyOutcome(name, state, done.seconds, record)


def asked_for(pipeline: Pipeline) -> tuple[Found, Path, str]:
    """The studies of a pipeline, its output folder and its digest; InputError where none is."""
    return studies_of(pipeline), output_of(pipeline), pipeline_digest(pipeline)


def studies_of(pipeline: Pipeline) -> Found:
    """The studies of a pipeline, by the names that are written.

    Raises InputError where there is none, or two would be written as one.
    """
    where = pipeline.input
    if where.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path; give --input")
    found = find_studies(
        where.path, reference=where.reference, channels=where.channels, series=where.series
    )
    found = Names.of(pipeline).found(found)
    check_apart(found.studies, pipeline)
    return found


def output_of(pipeline: Pipeline) -> Path:
    """Where a pipeline's results go."""
    return pipeline.output_options.path or Path("out") / pipeline.name
