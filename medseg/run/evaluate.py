"""``medseg evaluate``: folders of masks, of any tool, compared with references."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError
from medseg.execution import threaded
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import (
    ReadOptions,
    find_masks,
    is_drawn,
    read_labels,
    study_attributes,
    values_in,
    write_mask,
)
from medseg.metrics import Comparison, Lesions
from medseg.metrics.instances import numbered
from medseg.metrics.quality import Quality
from medseg.run.events import Note, State, StudyDone, StudyStarted, Watch, unheard
from medseg.run.folder import held, inside
from medseg.run.instances import instance_rows, write_instances
from medseg.run.records import Record, failed, measured, rounded, warnings_of, write_record
from medseg.run.sources import Sources, write_sources
from medseg.run.statistics import Cohort, write_statistics
from medseg.run.tables import write_tables
from medseg.step import Step


@dataclass(frozen=True)
class EvaluationSummary:
    """Where the tables are, which studies failed and why, and what summary.json says."""

    output: Path
    failures: Mapping[str, MedsegError]
    summary: Mapping[str, Any]
    records: Sequence[Record] = ()


@dataclass(frozen=True)
class Asked:
    """How to evaluate: the metrics, the labels or None, and what is known of the studies.

    ``jobs`` studies are at work at once, None as many as the machine has cores. ``table`` is a CSV
    of studies; its column ``patient`` says which studies are of one patient, and the columns ``by``
    are those to part the results by. ``lesions`` is the rule by which instances.csv is made, None
    for none, and ``instance_masks`` asks for their masks. ``quality`` is what is flagged in the
    predictions, None for nothing. ``scans`` is where the scans are, for a report to show; ``read``
    how masks are read, such as which structure of a drawing is which label.
    """

    metrics: Sequence[Step]
    labels: Labels | None = None
    jobs: int | None = None
    table: Path | None = None
    by: tuple[str, ...] = ()
    patient: str = "patient"
    lesions: Lesions | None = None
    instance_masks: bool = False
    quality: Quality | None = None
    scans: Path | None = None
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs are at least 1, not {self.jobs}")

    def sources(self, references: Path, predictions: Path, labels: Labels) -> Sources:
        """Where a report finds what was compared."""
        return Sources(self.scans, references, predictions, labels=labels, options=self.read)

    def cohort(self, studies: Iterable[Study]) -> Cohort:
        """What is known of studies: their own columns and those of the table.

        Raises InputError E_NO_INPUT where a column to part by is nowhere.
        """
        known = study_attributes(self.table) if self.table is not None else {}
        found = {one.name: {**one.attributes, **known.get(one.name, {})} for one in studies}
        for column in self.by:
            if not any(column in attributes for attributes in found.values()):
                columns = sorted({name for attributes in found.values() for name in attributes})
                there = f"there are {', '.join(columns)}" if columns else "give --table"
                raise InputError(
                    "E_NO_INPUT", f"no study has a column {column!r}; {there}", self.table
                )
        return Cohort(found, self.by, self.patient)


def evaluate(
    predictions: Path,
    references: Path,
    labels: Labels | None,
    *,
    metrics: Sequence[Step],
    output: Path,
    watch: Watch = unheard,
) -> EvaluationSummary:
    """Compare every prediction with the reference of the same name; otherwise as ``evaluated``."""
    return evaluated(predictions, references, Asked(metrics, labels), output, watch)


def evaluated(
    predictions: Path, references: Path, asked: Asked, output: Path, watch: Watch = unheard
) -> EvaluationSummary:
    """Compare every prediction with the reference of the same name and write the tables.

    Without labels every value that occurs in a mask is a label, called by its number. Raises
    InputError where nothing matches, OutputError where ``output`` cannot be written.
    """
    found = find_masks(predictions, references)
    for note in found.notes:
        watch(Note(note))
    cohort = asked.cohort(found.studies)
    jobs, threads = shared_out(asked.jobs, len(found.studies))
    labels = asked.labels or labels_of(
        [Path(mask) for one in found.studies for mask in (one.images[0], one.reference) if mask],
        jobs,
    )
    work = _Work(replace(asked, labels=labels), threads, output)
    with held(output):
        records, failures = worked_through(work, found.studies, jobs, watch)
        for record in records:
            write_record(output, record)
        summary = write_tables(output, records)
        write_statistics(output, records, cohort)
        write_instances(output, records)
        write_sources(output, asked.sources(references, predictions, labels))
    return EvaluationSummary(output, failures, summary, records)


@dataclass(frozen=True)
class _Work:
    """The comparison of one study; a call gives its record."""

    asked: Asked
    threads: int
    output: Path

    def __call__(self, study: Study) -> Record:
        asked = self.asked
        assert study.reference is not None  # masks without one are no studies here
        assert asked.labels is not None  # found in the masks where none were given
        prediction, labels = Path(study.images[0]), asked.labels
        if is_drawn(study.reference) and not is_drawn(prediction):
            mask, more = read_labels(prediction, labels, options=asked.read)
            reference, told = read_labels(study.reference, labels, mask.grid, asked.read)
        else:
            reference, told = read_labels(study.reference, labels, options=asked.read)
            mask, more = read_labels(prediction, labels, reference.grid, asked.read)
        comparison = Comparison(mask, reference, self.threads)
        flags = asked.quality.flags(mask) if asked.quality is not None else ()
        record = {
            "study": study.name,
            "state": "done",
            "volumes_ml": [rounded(mask.volumes_ml())],
            "reference_volumes_ml": rounded(reference.volumes_ml()),
            "metrics": measured(m for metric in asked.metrics for m in metric(comparison)),
            "warnings": warnings_of([*told, *more, *flags]),
        }
        return record | lesions_of(study, mask, reference, asked, self.output)


def lesions_of(
    study: Study, mask: LabelMap, reference: LabelMap, asked: Asked, output: Path
) -> Record:
    """What a record says of instances, if it is asked to; their mask is written here."""
    if asked.lesions is None:
        return {}
    if asked.instance_masks:
        path = inside(output, output / "instances" / f"{study.name}.nii.gz")
        write_mask(path, numbered(mask, connectivity=asked.lesions.connectivity))
    return {"instances": instance_rows(mask, reference, asked.lesions)}


def worked_through(
    work: Callable[[Study], Record], studies: Sequence[Study], jobs: int, watch: Watch
) -> tuple[list[Record], dict[str, MedsegError]]:
    """The record of every study in order, and the errors of those that failed."""
    records: list[Record] = []
    failures: dict[str, MedsegError] = {}
    total = len(studies)
    if studies:
        watch(StudyStarted(studies[0].name, 1, total))
    for done in threaded(work, studies, jobs):
        if done.error is not None:
            failures[done.item.name] = done.error
            records.append(failed(done.item, done.error))
        else:
            records.append(done.result or {})
        state: State = "done" if done.error is None else "failed"
        watch(StudyDone(done.item.name, state, done.seconds, str(done.error or "")))
        if len(records) < total:
            watch(StudyStarted(studies[len(records)].name, len(records) + 1, total))
    return records, failures


def shared_out(jobs: int | None, studies: int) -> tuple[int, int]:
    """How many studies are at work at once, and how many threads each has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = jobs or cores or 1
    at_once = max(1, min(wanted, studies))
    return at_once, max(1, wanted // at_once)


def labels_of(masks: Sequence[Path], jobs: int) -> Labels:
    """Every value in masks as a label called by its number.

    A mask that cannot be read says nothing here; it fails with its study. Raises InputError
    E_NO_INPUT where all are empty.
    """
    values = {
        value for done in threaded(values_in, masks, jobs) for value in (done.result or frozenset())
    }
    if not values:
        raise InputError("E_NO_INPUT", "every mask is empty; name the labels")
    if min(values) < 0:
        raise InputError("E_NO_INPUT", f"masks hold {min(values)}; name the labels")
    return Labels(tuple(Label(str(value), (value,)) for value in sorted(values)))
