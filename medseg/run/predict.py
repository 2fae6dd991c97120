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
    Scan,
    find_studies,
    read_labels,
    read_scan,
    sha256_of,
    write_label_table,
    write_mask,
)
from medseg.metrics import Comparison, Measure
from medseg.pipeline import Pipeline, Site, check_ready, pipeline_digest
from medseg.run.events import Note, StageStarted, State, StudyDone, StudyStarted, Watch, unheard
from medseg.run.exports import check_exports, exported, missing_exports, wanted_formats
from medseg.run.folder import held, inside
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
            _work_through(_Job(pipeline, site, output, digest, overwrite, watch), found, outcomes)
        finally:
            # An interrupted run has its tables too, of what was done until then.
            summary = write_tables(output, [dict(outcome.record) for outcome in outcomes])
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
    found = find_studies(
        where.path, reference=where.reference, channels=where.channels, series=where.series
    )
    output = pipeline.output_options.path or Path("out") / pipeline.name
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
        if self.overwrite or not still_stands(old, study, self.pipeline.input, self.digest, path):
            return self._segmented(study, path)
        assert old is not None
        if old.get("reference") != self._reference_stamp(study):
            old = self._measured_again(study, path, old)
        missing = missing_exports(old, self.pipeline, self.output)
        if missing:
            mask = self._old_mask(path, old)
            more = exported(missing, mask, study, self.pipeline, self.output)
            old = {**old, "exports": {**old.get("exports", {}), **more}}
            write_record(self.output, old)
        return {**old, "kept": True}

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
        check_exports(study, self.pipeline)
        clock = Clock(lambda stage: self.watch(StageStarted(stage)))
        limit = memory_gib(self.site)
        with clock.stage("read"):
            options = replace(self.pipeline.input, memory_gib=limit)
            scan = read_scan(study, options)
        if len(scan.frames) > 1 and wanted_formats(self.pipeline):
            raise StudyError(
                "E_NDIM", "a series of frames is written as NIfTI only; take out output.formats"
            )
        answers = [segment(frame, self.pipeline, clock, limit) for frame in scan.frames]
        masks = [answer.mask for answer in answers]
        with clock.stage("write"):
            sha256 = write_mask(path, masks, scan.geometry)
            write_label_table(path.parent / "dseg.tsv", masks[0].labels)
            formats = wanted_formats(self.pipeline)
            exports = exported(formats, masks[0], study, self.pipeline, self.output)
        with clock.stage("metrics"):
            measures, more, reference_ml = self._compared(study, masks)
        cautions = [*scan.cautions, *(c for a in answers for c in a.cautions), *more]
        record = {
            "study": study.name,
            "state": "done",
            "pipeline": {"name": self.pipeline.name, "digest": self.digest},
            "inputs": dict(scan.digests),
            "mask": {"file": f"masks/{path.name}", "sha256": sha256},
            "exports": exports,
            "grid": _grid(scan),
            "labels": {label.name: list(label.values) for label in masks[0].labels},
            "volumes_ml": volumes_of(masks),
            "reference": self._reference_stamp(study),
            "reference_volumes_ml": reference_ml,
            "metrics": measured(measures),
            "warnings": warnings_of(cautions),
            "versions": dict(versions()),
            "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        }
        write_record(self.output, record)
        return record

    def _reference_stamp(self, study: Study) -> dict[str, str] | None:
        """What the metrics rest on: the reference's bytes and the metrics asked for."""
        if study.reference is None:
            return None
        asked = "; ".join(map(repr, self.pipeline.metrics))
        return {"sha256": sha256_of(study.reference), "metrics": asked}

    def _compared(
        self, study: Study, masks: Sequence[LabelMap]
    ) -> tuple[list[Measure], tuple[Caution, ...], dict[str, float]]:
        """Measures against the reference, what to know about it, and its volumes in ml."""
        if study.reference is None:
            return [], (), {}
        if len(masks) > 1:
            raise StudyError(
                "E_NDIM", "a reference is compared with a 3D mask, not a series", study.reference
            )
        reference, cautions = read_labels(
            study.reference, masks[0].labels, masks[0].grid, self.pipeline.input
        )
        comparison = Comparison(masks[0], reference)
        measures = [m for metric in self.pipeline.metrics for m in metric(comparison)]
        return measures, cautions, rounded(reference.volumes_ml())

    def _old_mask(self, path: Path, old: Record) -> LabelMap:
        # Post-processing may have given the mask other labels than the pipeline's.
        known = self.pipeline.labels
        entries = tuple(_again(name, values, known) for name, values in old["labels"].items())
        mask, _ = read_labels(path, Labels(entries, known.ignore), options=self.pipeline.input)
        return mask

    def _measured_again(self, study: Study, path: Path, old: Record) -> Record:
        """The mask stands, but the reference or the metrics are others than last time."""
        mask = self._old_mask(path, old)
        measures, _, reference_ml = self._compared(study, [mask])
        record = {
            **old,
            "reference": self._reference_stamp(study),
            "reference_volumes_ml": reference_ml,
            "metrics": measured(measures),
        }
        write_record(self.output, record)
        return record


def _again(name: str, values: Sequence[int], known: Labels) -> Label:
    """A label of a record, with the colour and the code that the pipeline has for its name."""
    if name not in known.names:
        return Label(name, tuple(values))
    return replace(known[name], values=tuple(values))


def _grid(scan: Scan) -> dict[str, Any]:
    grid = scan.frames[0].grid
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(side, 6) for side in grid.spacing_mm],
        "axcodes": grid.axcodes,
    }
