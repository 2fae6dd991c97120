"""One study's way through a run: fetched, segmented, stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from medseg.errors import Caution, StudyError
from medseg.image import Grid, LabelMap, Study, Volume
from medseg.inference.limits import GIB
from medseg.io import (
    Geometry,
    Scan,
    grid_of,
    read_scan,
    write_label_table,
    write_map,
    write_mask,
)
from medseg.pipeline import Pipeline, Site
from medseg.run.events import StageStarted, Watch
from medseg.run.exports import (
    check_exports,
    exported,
    missing_exports,
    wanted_formats,
    withdraw_exports,
)
from medseg.run.folder import inside
from medseg.run.judging import Judge, map_path
from medseg.run.privacy import Names
from medseg.run.records import (
    Record,
    probabilities_path,
    probabilities_stand,
    read_record,
    still_stands,
    versions,
    volumes_of,
    warnings_of,
    write_record,
)
from medseg.run.room import check_room, fetched_bytes, foreseen
from medseg.run.segment import Clock, Segmentation, answered, prepared, segment
from medseg.run.site import limits_of
from medseg.run.sources import Sources, write_sources


def mask_path(output: Path, study: str) -> Path:
    """Where a study's mask lies in an output folder."""
    return output / "masks" / f"{study}.nii.gz"


@dataclass(frozen=True, eq=False)
class Fetched:
    """A study that is read, or the record of an earlier run that still stands.

    ``ready`` is the preprocessed image of its only frame and where the scan lay, where that could
    be made beforehand; the scan is then without its voxels.
    """

    scan: Scan | None = None
    ready: tuple[Volume, Grid] | None = None
    old: Record | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, eq=False)
class Answered:
    """A study's masks and all that is told of them, or the record that still stands."""

    frames: tuple[Segmentation, ...] = ()
    geometry: Geometry | None = None
    cautions: tuple[Caution, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    old: Record | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def masks(self) -> tuple[LabelMap, ...]:
        """One a frame."""
        return tuple(frame.mask for frame in self.frames)


@dataclass(frozen=True)
class Job:
    """The work on one study, in three stations."""

    pipeline: Pipeline
    site: Site
    output: Path
    digest: str
    overwrite: bool
    watch: Watch
    cautions: tuple[Caution, ...] = ()
    """What should be known of every study that is done by this job."""

    def finished(self, name: str) -> Record | None:
        """The record of a study that this pipeline has done, if it has."""
        record = read_record(self.output, name)
        if record is None or record.get("state") != "done":
            return None
        return record if record.get("pipeline", {}).get("digest") == self.digest else None

    def standing(self, study: Study) -> Record | None:
        """The record of an earlier run, where its mask and maps need not be made again."""
        if self.overwrite or (old := self.finished(study.name)) is None:
            return None
        path = inside(self.output, mask_path(self.output, study.name))
        stands = still_stands(old, study, self.pipeline, self.digest, path)
        stands = stands and probabilities_stand(old, self.pipeline, self.output)
        return old if stands and self._judge.entropy_stands(old) else None

    def withdraw(self, name: str) -> None:
        """Remove all that stands for a study which failed.

        A mask of another pipeline or of another scan must not stand for this one.
        """
        old = read_record(self.output, name) or {}
        maps = (map_path(self.output, kind, name) for kind in ("instances", "entropy"))
        for path in (mask_path(self.output, name), probabilities_path(self.output, name), *maps):
            inside(self.output, path).unlink(missing_ok=True)
        withdraw_exports(old.get("exports", {}), self.output)

    def fetch(self, study: Study) -> Fetched:
        """Read a study and preprocess it; nothing where an earlier run's mask stands."""
        if (old := self.standing(study)) is not None:
            return Fetched(old=old)
        check_exports(study, self.pipeline)
        clock = Clock()
        self._check_room(study)
        with clock.stage("read"):
            scan = read_scan(study, self.pipeline.input)
        told = self.pipeline.output_options
        if len(scan.frames) > 1 and (wanted_formats(self.pipeline) or told.probabilities):
            raise StudyError(
                "E_NDIM",
                "a series of frames is written as masks in NIfTI only; take out output.formats"
                " and output.probabilities",
            )
        # Another pipeline's network is asked in the thread of this one's.
        if len(scan.frames) == 1 and self.pipeline.within is None:
            ready, _ = prepared(scan.volume, self.pipeline, clock)
            # Its place is kept; its voxels have become the image.
            grid, scan = scan.volume.grid, replace(scan, frames=())
            return Fetched(scan, (ready, grid), clock=clock)
        return Fetched(scan, clock=clock)

    def beside(self, study: Study, before: Study) -> bool:
        """Whether a study may be fetched while the one before it is segmented."""
        limits = limits_of(self.site)
        try:
            now, following = (grid_of(one, self.pipeline.input) for one in (before, study))
            if now is None or following is None:
                return True
            seen = foreseen(now, self.pipeline) or now
            held = check_room(len(before.images), seen, now, self.pipeline, limits)
        except StudyError:
            # It will be told when it is its turn.
            return True
        more = fetched_bytes(len(study.images), following, self.pipeline)
        return sum(held.values()) + more <= (limits.memory_gib or inf) * GIB

    def work(self, study: Study, fetched: Fetched) -> Answered:
        """The study's masks, one a frame."""
        del study
        if fetched.scan is None:
            return Answered(old=fetched.old)
        clock, scan, limits = fetched.clock, fetched.scan, limits_of(self.site)
        clock.hear = lambda stage: self.watch(StageStarted(stage))
        if fetched.ready is not None:
            image, grid = fetched.ready
            answers = [answered(image, grid, self.pipeline, clock, limits)]
        else:
            answers = [segment(frame, self.pipeline, clock, limits) for frame in scan.frames]
        clock.hear = str
        return Answered(
            frames=tuple(answers),
            geometry=scan.geometry,
            cautions=(*scan.cautions, *(c for answer in answers for c in answer.cautions)),
            digests=scan.digests,
            clock=clock,
        )

    def store(self, study: Study, made: Answered) -> Record:
        """Write the masks, compare them with the reference, and write the record."""
        path = mask_path(self.output, study.name)
        if made.old is not None:
            return self._kept(study, path, made.old)
        masks, clock = made.masks, made.clock
        # A reference that cannot be read is told before anything is written.
        with clock.stage("metrics"):
            judged, more = self._judge.said(study, masks, made.geometry, made.frames)
        with clock.stage("write"):
            sha256 = write_mask(path, masks, made.geometry)
            write_label_table(path.parent / "dseg.tsv", masks[0].labels)
            formats = wanted_formats(self.pipeline)
            exports = exported(formats, masks[0], study, self.pipeline, self.output)
            told = self._probabilities(study, made)
        cautions = (*self.cautions, *made.cautions, *more)
        record = {
            "study": study.name,
            "state": "done",
            **self.names.patient(study),
            "pipeline": {"name": self.pipeline.name, "digest": self.digest},
            "inputs": self.names.inputs(made.digests),
            "mask": {"file": f"masks/{path.name}", "sha256": sha256},
            "exports": exports,
            **told,
            "grid": _described(masks[0].grid),
            "labels": {label.name: list(label.values) for label in masks[0].labels},
            "volumes_ml": volumes_of(masks),
            **judged,
            "warnings": warnings_of(self.names.cautions(study, cautions)),
            "versions": dict(versions()),
            "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        }
        write_record(self.output, record)
        return record

    def _probabilities(self, study: Study, made: Answered) -> Record:
        """Write them, where they were asked for; what the record says of them."""
        scores = made.frames[0].scores
        if scores is None or not self.pipeline.output_options.probabilities:
            return {}
        from medseg.inference.probabilities import SURE, probabilities_on

        grid, temperature = made.masks[0].grid, made.frames[0].temperature
        shares = probabilities_on(scores, grid, temperature)
        path = inside(self.output, probabilities_path(self.output, study.name))
        geometry = made.geometry or Geometry.of(grid)
        said = {
            "file": f"{path.parent.name}/{path.name}",
            "sha256": write_map(path, shares, geometry, 1 / SURE, stacked=True),
            "labels": list(self.pipeline.labels.names),
            "temperature": self.pipeline.calibration.temperature,
        }
        return {"probabilities": said}

    @property
    def names(self) -> Names:
        """What studies and their files are called in what is written."""
        return Names.of(self.pipeline)

    def tell_sources(self) -> None:
        """Write where a report finds the scans; not where names are hidden."""
        where = self.pipeline.input
        if self.pipeline.privacy.ids == "keep":
            sources = Sources(
                where.path,
                where.reference,
                channels=tuple(where.channels),
                labels=self.pipeline.labels,
                options=where,
            )
            write_sources(self.output, sources)

    def _check_room(self, study: Study) -> None:
        """Refuse what is too large before a voxel of it is read, where that can be foreseen."""
        grid = grid_of(study, self.pipeline.input)
        if grid is not None and (seen := foreseen(grid, self.pipeline)) is not None:
            check_room(len(study.images), seen, grid, self.pipeline, limits_of(self.site))

    @property
    def _judge(self) -> Judge:
        return Judge(self.pipeline, self.output)

    def _kept(self, study: Study, path: Path, old: Record) -> Record:
        judge = self._judge
        old = judge.again(study, path, old)
        if missing := missing_exports(old, self.pipeline, self.output):
            mask = judge.old_mask(path, old)
            more = exported(missing, mask, study, self.pipeline, self.output)
            old = {**old, "exports": {**old.get("exports", {}), **more}}
            write_record(self.output, old)
        return {**old, "kept": True}


def _described(grid: Grid) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(side, 6) for side in grid.spacing_mm],
        "axcodes": grid.axcodes,
    }
