"""The studies of a training: audited, and preprocessed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from medseg.errors import InputError
from medseg.execution import serial
from medseg.image import Study
from medseg.image.resampling import resample_labels
from medseg.io import read_labels, read_scan
from medseg.pipeline import Pipeline
from medseg.run.audit import Audit, Where, audit, read_looks, tell, write_looks
from medseg.run.cache import Cache
from medseg.run.events import Note, StageStarted, Watch
from medseg.run.segment import prepared
from medseg.training.sampling import Case

AUDIT = "audit.json"


def sound(pipeline: Pipeline, folder: Path, keep: bool, watch: Watch) -> Audit:
    """The studies with nothing wrong; all others are told, and left out.

    What was looked at before is known from ``folder``, where it is kept if ``keep``. Raises
    InputError where none is sound.
    """
    place = pipeline.input
    if place.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path; give --input")
    where = Where(place.path, place.reference, place.channels, place)
    about = repr((pipeline.labels, place.unlimited))
    asked = sha256(about.encode()).hexdigest()
    found = audit(
        where,
        pipeline.labels,
        known=read_looks(folder / AUDIT, asked),
        keep=lambda looks: write_looks(folder / AUDIT, looks, asked) if keep else None,
        watch=watch,
    )
    tell(found, watch)
    if not found.studies:
        told = f"none of the {len(found.found.studies)} studies is fit to be trained on"
        raise InputError("E_NO_INPUT", told, place.path)
    return found


def read_cases(
    pipeline: Pipeline, studies: Sequence[Study], folder: Path, watch: Watch
) -> list[Case]:
    """Preprocessed studies; one that cannot be read is told and left out."""

    def read(study: Study) -> Case:
        scan = read_scan(study, pipeline.input)
        assert study.reference is not None
        reference, _ = read_labels(
            study.reference, pipeline.labels, scan.volume.grid, pipeline.input
        )
        image, _ = prepared(scan.volume, pipeline)
        return Case(study.name, image, resample_labels(reference, image.grid))

    watch(StageStarted(f"reading {len(studies)} studies"))
    cache = Cache.of(pipeline, folder)
    cases = []
    for done in serial(lambda study: cache.case(study, read), studies):
        if done.result is not None:
            cases.append(done.result)
        else:
            watch(Note(f"{done.item.name} is left out: {done.error}"))
    if not cases:
        raise InputError("E_NO_INPUT", "none of the studies to train on could be read")
    return cases
