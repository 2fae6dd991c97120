"""``medseg watch``: studies are segmented as they arrive in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from medseg.errors import InputError
from medseg.image import Study
from medseg.image.study import Stack
from medseg.io import Found, naming_faults
from medseg.pipeline import Pipeline, Site, check_ready, pipeline_digest
from medseg.run.dealing import Deal, check_site
from medseg.run.events import Note, Watch, unheard
from medseg.run.folder import held
from medseg.run.job import Job
from medseg.run.journal import JOURNAL
from medseg.run.packed import unpacked
from medseg.run.predict import (
    RunSummary,
    StudyOutcome,
    journal_of,
    output_of,
    studies_of,
    work_through,
)
from medseg.run.site import settled
from medseg.run.whole import write_all

Look = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Patience:
    """How a folder is watched.

    A study is complete when its files have kept their number, sizes and times for
    ``settle_seconds``. The folder is looked at every ``every_seconds``, until nothing new has come
    for ``idle_seconds`` (None: for ever).
    """

    settle_seconds: float = 30.0
    every_seconds: float = 5.0
    idle_seconds: float | None = None


class Arrivals:
    """Which studies of a folder are complete, and new or changed since they were last given."""

    def __init__(self, settle_seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._settle = settle_seconds
        self._clock = clock
        self._seen: dict[str, tuple[Look, float]] = {}
        self._given: dict[str, Look] = {}

    def ready(self, found: Found) -> list[Study]:
        """Those that can be done now, each once."""
        now, complete = self._clock(), []
        for study in found.studies:
            look = _look(study)
            before = self._seen.get(study.name)
            if before is None or before[0] != look:
                self._seen[study.name] = (look, now)
            settled_for = now - self._seen[study.name][1]
            if look and settled_for >= self._settle and self._given.get(study.name) != look:
                self._given[study.name] = look
                complete.append(study)
        return complete

    @property
    def waiting(self) -> bool:
        """Whether a study has been seen that is not complete yet."""
        return any(self._given.get(name) != look for name, (look, _) in self._seen.items())


@naming_faults()
def watch_folder(
    pipeline: Pipeline,
    site: Site | None = None,
    patience: Patience | None = None,
    watch: Watch = unheard,
) -> RunSummary:
    """Segment each study of ``pipeline.input`` once it is complete, and again if it changes.

    The tables are made anew after each round. Stopped and started again, studies whose masks
    stand are kept, as ``predict`` does. Raises as ``predict``, but waits where there is nothing.
    """
    site, patience = site or Site(), patience or Patience()
    if pipeline.input.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path to watch")
    pipeline = settled(pipeline, site)
    check_ready(pipeline)
    check_site(pipeline, site)
    output = output_of(pipeline)
    job = Job(pipeline, site, output, pipeline_digest(pipeline), False, watch)
    known: dict[str, StudyOutcome] = {}
    with held(output):
        journal = journal_of(job, JOURNAL)
        job.tell_sources()
        for studies in _rounds(pipeline, patience, watch):
            outcomes: list[StudyOutcome] = []
            try:
                work_through(job, Deal(studies, len(studies)), journal, outcomes)
            finally:
                known |= {outcome.name: outcome for outcome in outcomes}
                write_all(output, (unpacked(known[name].record) for name in sorted(known)))
        summary = write_all(output, (unpacked(known[name].record) for name in sorted(known)))
    return RunSummary(output, tuple(known[name] for name in sorted(known)), summary)


def _rounds(pipeline: Pipeline, patience: Patience, watch: Watch) -> Iterator[list[Study]]:
    arrivals, told, last = Arrivals(patience.settle_seconds), "", monotonic()
    watch(Note(f"watching {pipeline.input.path}"))
    while True:
        try:
            studies = arrivals.ready(studies_of(pipeline))
        except InputError as error:
            studies = []
            if error.code != "E_NO_INPUT" and str(error) != told:
                told = str(error)
                watch(Note(told))
        if studies:
            yield studies
        if studies or arrivals.waiting:
            last = monotonic()
        elif patience.idle_seconds is not None and monotonic() - last >= patience.idle_seconds:
            return
        sleep(patience.every_seconds)


def _look(study: Study) -> Look:
    """Every file of a study with its size and time; nothing where one is missing."""
    files: list[Path] = [] if study.reference is None else [study.reference]
    for image in study.images:
        files += image.files if isinstance(image, Stack) else _files(image)
    try:
        stats = [(str(path), path.stat()) for path in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _files(image: Path) -> list[Path]:
    if image.is_dir():
        return sorted(path for path in image.rglob("*") if path.is_file())
    other = image.with_suffix(".img")
    return [image, other] if image.suffix == ".hdr" and other.is_file() else [image]
