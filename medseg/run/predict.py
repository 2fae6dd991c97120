"""``medseg run``: a pipeline over studies, each ending in a mask or a named error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medseg.errors import Caution, InputError, MedsegError, StudyError
from medseg.execution import Outcome, serial
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import (
    Found,
    Geometry,
    Scan,
    find_studies,
    read_labels,
    read_scan,
    sha256_of,
    write_label_table,
    write_mask,
)
from medseg.metrics import Comparison
from medseg.metrics.instances import numbered
from medseg.pipeline import Pipeline, Site, check_ready, pipeline_digest
from medseg.run.events import Note, StageStarted, State, StudyDone, StudyStarted, Watch, unheard
from medseg.run.folder import held, inside
from medseg.run.instances import instances_of, write_instances
from medseg.run.records import (
    Record,
    failed,
    measured,
    read_record,
    rounded,
    still_stands,
    versions,
    volumes_of,
    warnings_of,
    write_record,
)
from medseg.run.segment import Clock, segment
from medseg.run.site import memory_gib, settled
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
            read_record(output, study.name), study, digest, mask_path(output, study.name)
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
            _work_through(_Job(pipeline, site, output, digest, overwrite, watch), found, outcomes)
        finally:
            # An interrupted run has its tables too, of what was done until then.
            records = [dict(outcome.record) for outcome in outcomes]
            summary = write_tables(output, records)
            write_instances(output, records)
    return RunSummary(output, tuple(outcomes), summary)


def _work_through(job: _Job, found: Found, outcomes: list[StudyOutcome]) -> None:
    total = len(found.studies)

    def begun(studies: Iterable[Study]) -> Iterator[Study]:
        for index, study in enumerate(studies, 1):
            job.watch(StudyStarted(study.name, index, total))
            yield study

    for done in serial(job, begun(found.studies)):
        outcome = job.closed(done)
        outcomes.append(outcome)
        said = str(outcome.error) if outcome.error else ""
        job.watch(StudyDone(outcome.name, outcome.state, outcome.seconds, said))


def mask_path(output: Path, study: str) -> Path:
    """Where a study's mask lies in an output folder."""
    return output / "masks" / f"{study}.nii.gz"


def _asked(pipeline: Pipeline) -> tuple[Found, Path, str]:
    where = pipeline.input
    if where.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path; give --input")
    found = find_studies(where.path, reference=where.reference, channels=where.channels)
    output = pipeline.output or Path("out") / pipeline.name
    return found, output, pipeline_digest(pipeline)


@dataclass(frozen=True)
class _Job:
    """The work on one study; a call gives its record."""

    pipeline: Pipeline
    site: Site
    output: Path
    digest: str
    overwrite: bool
    watch: Watch

    def __call__(self, study: Study) -> Record:
        path = inside(self.output, mask_path(self.output, study.name))
        old = read_record(self.output, study.name)
        if self.overwrite or not still_stands(old, study, self.digest, path):
            return self._segmented(study, path)
        assert old is not None
        if old.get("judged_by") == self._judged_by(study):
            return {**old, "kept": True}
        return {**self._measured_again(study, path, old), "kept": True}

    def closed(self, done: Outcome[Study, Record]) -> StudyOutcome:
        """The outcome for the caller; the record of a failure is written here."""
        name = done.item.name
        if done.error is not None:
            # A mask of another pipeline or of another scan must not stand for this one.
            mask_path(self.output, name).unlink(missing_ok=True)
            record = failed(done.item, done.error)
            write_record(self.output, record)
            return StudyOutcome(name, "failed", done.seconds, record, done.error)
        record = dict(done.result or {})
        state: State = "kept" if record.pop("kept", False) else "done"
        return StudyOutcome(name, state, done.seconds, record)

    def _segmented(self, study: Study, path: Path) -> Record:
        clock = Clock(lambda stage: self.watch(StageStarted(stage)))
        limit = memory_gib(self.site)
        with clock.stage("read"):
            options = replace(self.pipeline.input, memory_gib=limit)
            scan = read_scan(study, options)
        answers = [segment(frame, self.pipeline, clock, limit) for frame in scan.frames]
        masks = [answer.mask for answer in answers]
        with clock.stage("write"):
            sha256 = write_mask(path, masks, scan.geometry)
            write_label_table(path.parent / "dseg.tsv", masks[0].labels)
        with clock.stage("metrics"):
            judged, more = self._judged(study, masks, scan.geometry)
        cautions = [*scan.cautions, *(c for a in answers for c in a.cautions), *more]
        record = {
            "study": study.name,
            "state": "done",
            "pipeline": {"name": self.pipeline.name, "digest": self.digest},
            "inputs": dict(scan.digests),
            "mask": {"file": f"masks/{path.name}", "sha256": sha256},
            "grid": _grid(scan),
            "labels": {label.name: list(label.values) for label in masks[0].labels},
            "volumes_ml": volumes_of(masks),
            **judged,
            "warnings": warnings_of(cautions),
            "versions": dict(versions()),
            "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        }
        write_record(self.output, record)
        return record

    def _judged_by(self, study: Study) -> dict[str, str | None]:
        """What is said of the mask rests on this: the reference's bytes and what was asked."""
        pipeline = self.pipeline
        return {
            "reference_sha256": None if study.reference is None else sha256_of(study.reference),
            "metrics": "; ".join(map(repr, pipeline.metrics)) if study.reference else "",
            "instances": repr(pipeline.instances) if pipeline.instances else "",
        }

    def _judged(
        self, study: Study, masks: Sequence[LabelMap], geometry: Geometry | None = None
    ) -> tuple[Record, tuple[Caution, ...]]:
        """What the record says of masks beside their reference, and what to know about them."""
        reference, cautions = self._reference(study, masks)
        comparison = None if reference is None else Comparison(masks[0], reference)
        asked_for = self.pipeline.metrics if comparison is not None else ()
        measures = [measure for metric in asked_for for measure in metric(comparison)]
        said: Record = {
            "judged_by": self._judged_by(study),
            "reference_volumes_ml": {} if reference is None else rounded(reference.volumes_ml()),
            "metrics": measured(measures),
        }
        asked = self.pipeline.instances
        if asked is not None:
            said["instances"] = instances_of(study.name, asked, masks, reference)
            if asked.masks:
                path = inside(self.output, self.output / "instances" / f"{study.name}.nii.gz")
                write_mask(path, numbered(masks[0], asked.labels, asked.connectivity), geometry)
        flags = [flag for mask in masks for flag in self.pipeline.quality.flags(mask)]
        return said, (*cautions, *flags)

    def _reference(
        self, study: Study, masks: Sequence[LabelMap]
    ) -> tuple[LabelMap | None, tuple[Caution, ...]]:
        if study.reference is None:
            return None, ()
        if len(masks) > 1:
            raise StudyError(
                "E_NDIM", "a reference is compared with a 3D mask, not a series", study.reference
            )
        return read_labels(study.reference, masks[0].labels, masks[0].grid, self.pipeline.input)

    def _measured_again(self, study: Study, path: Path, old: Record) -> Record:
        """The mask stands, but the reference or what was asked is other than last time."""
        # Post-processing may have given the mask other labels than the pipeline's.
        entries = tuple(Label(name, tuple(values)) for name, values in old["labels"].items())
        mask, _ = read_labels(
            path, Labels(entries, self.pipeline.labels.ignore), options=self.pipeline.input
        )
        judged, _ = self._judged(study, [mask])
        record = {**old, **judged}
        if "instances" not in judged:
            record.pop("instances", None)
        write_record(self.output, record)
        return record


def _grid(scan: Scan) -> dict[str, Any]:
    grid = scan.frames[0].grid
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(side, 6) for side in grid.spacing_mm],
        "axcodes": grid.axcodes,
    }
