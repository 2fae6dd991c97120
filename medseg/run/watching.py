"""``medseg watch``: studies are segmented as they arrive in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from medseg.errors import InputError
from medseg.image import Study
from medseg.image.study import Stack
from medseg.io import Found, naming_faults
from medseg.io.layouts_files import id_of, images_in, normal, some
from medseg.io.layouts_reference import with_references
from medseg.io.layouts_sets import DESCRIPTION, indexed
from medseg.pipeline import Pipeline, Site, check_ready, pipeline_digest
from medseg.run.dealing import Deal, check_site, dealing
from medseg.run.events import Event, Note, StudyStarted, Watch, unheard
from medseg.run.exports import check_apart
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
from medseg.run.privacy import Names
from medseg.run.shards import write_plan
from medseg.run.site import settled
from medseg.run.whole import standing, write_all

Look = tuple[tuple[str, int, int], ...]
Records = dict[str, Mapping[str, Any]]


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
        there = {study.name for study in found.studies}
        self._seen = {name: seen for name, seen in self._seen.items() if name in there}
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
        """Whether a study is there that is not complete yet."""
        return any(self._given.get(name) != look for name, (look, _) in self._seen.items())


@naming_faults()
def watch_folder(
    pipeline: Pipeline,
    site: Site | None = None,
    patience: Patience | None = None,
    watch: Watch = unheard,
) -> RunSummary:
    """Segment each study of ``pipeline.input`` once it is complete, and again if it changes.

    The tables are made anew after each round, of all that this pipeline has ended in the output
    folder, whether its scans are still there or not. Stopped and started again, studies whose
    masks stand are kept, as ``predict`` does. Raises as ``predict``, but waits where there is
    nothing; studies that share a name wait, and the others go on.
    """
    site, patience = site or Site(), patience or Patience()
    if pipeline.input.path is None:
        raise InputError("E_NO_INPUT", "the pipeline names no input.path to watch")
    pipeline = settled(pipeline, site)
    check_ready(pipeline)
    check_site(pipeline, site)
    output = output_of(pipeline)
    counting = _Counting(watch)
    job = Job(pipeline, site, output, pipeline_digest(pipeline), False, counting)
    rounds: list[list[StudyOutcome]] = []
    with held(output):
        journal = journal_of(job, JOURNAL)
        job.tell_sources()
        before: Records = {one["study"]: one for one in standing(output, job.digest)}

        def records() -> Records:
            return before | {one.name: one.record for one in chain(*rounds)}

        try:
            # Workers stay from round to round, with what they have loaded.
            with dealing(job, len(site.places)) as hands:
                for studies in _rounds(pipeline, patience, watch):
                    write_plan(output, studies, job.digest, records())
                    counting.ended = sum(map(len, rounds))
                    rounds.append([])
                    deal = Deal(studies, len(studies))
                    work_through(job, hands, deal, journal, rounds[-1])
                    _write_tables(output, records())
        finally:
            summary = _write_tables(output, records())
    known = {one.name: one for one in chain(*rounds)}
    return RunSummary(output, tuple(known[name] for name in sorted(known)), summary)


def _write_tables(output: Path, records: Records) -> Mapping[str, Any]:
    return write_all(output, (unpacked(records[name]) for name in sorted(records)))


class _Counting:
    """Who hears of a round's studies as of those that come after the ``ended`` ones."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.ended = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StudyStarted):
            event = replace(event, index=event.index + self.ended, total=event.total + self.ended)
        self._watch(event)


def _rounds(pipeline: Pipeline, patience: Patience, watch: Watch) -> Iterator[list[Study]]:
    arrivals, told, last = Arrivals(patience.settle_seconds), "", monotonic()
    watch(Note(f"watching {pipeline.input.path}"))
    while True:
        found, fault = _looked(pipeline)
        if fault and fault != told:
            watch(Note(fault))
        told = fault
        studies = [] if found is None else arrivals.ready(found)
        if studies:
            yield studies
        if studies or arrivals.waiting:
            last = monotonic()
        elif patience.idle_seconds is not None and monotonic() - last >= patience.idle_seconds:
            return
        sleep(patience.every_seconds)


def _looked(pipeline: Pipeline) -> tuple[Found | None, str]:
    """The studies that are there, None where that cannot be told; and what is wrong, if anything.

    It names no file where names are hidden.
    """
    try:
        return studies_of(pipeline), ""
    except InputError as error:
        if error.code == "E_NO_INPUT":
            return Found("nothing", ()), ""
        if error.code != "E_DUPLICATE_ID":
            return None, str(error)
        hidden = pipeline.privacy.ids != "keep"
        fault = f"{error.code}: several studies share a name; all wait" if hidden else str(error)
    try:
        alone, twins = (Names.of(pipeline).found(found) for found in _parted(pipeline))
        check_apart(alone.studies, pipeline)
    except (InputError, OSError):
        return None, fault
    names = some(study.name for study in twins.studies)
    return alone, f"E_DUPLICATE_ID: several files share a name and wait: {names}" if names else ""


def _parted(pipeline: Pipeline) -> tuple[Found, Found]:
    """The studies of a plain folder that have a name to themselves, and those that share one.

    Raises InputError E_NO_INPUT where it is another layout, or no reference belongs to them.
    """
    where = pipeline.input
    folder = Path(where.path or "")
    sets = any((folder / name).exists() for name in (DESCRIPTION, "imagesTr", "imagesTs"))
    if sets or not folder.is_dir() or indexed(folder, where.channels):
        raise InputError("E_NO_INPUT", "is no plain folder", folder)
    named: dict[str, list[Study]] = {}
    for name, file in images_in(folder):
        named.setdefault(normal(id_of(name)), []).append(Study(name, (file,)))
    alone = Found("plain folder", tuple(same[0] for same in named.values() if len(same) == 1))
    if where.reference is not None:
        alone = with_references(alone, where.reference)
    twins = Found("plain folder", tuple(same[0] for same in named.values() if len(same) > 1))
    return _by_id(alone), _by_id(twins)


def _by_id(found: Found) -> Found:
    studies = (replace(study, name=id_of(study.name)) for study in found.studies)
    return replace(found, studies=tuple(sorted(studies, key=lambda study: study.name)))


def _look(study: Study) -> Look:
    """Every file of a study with its size and time; nothing where one is missing."""
    files: list[Path] = [] if study.reference is None else [study.reference]
    try:
        for image in study.images:
            files += image.files if isinstance(image, Stack) else _files(image)
        stats = [(str(path), path.stat()) for path in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _files(image: Path) -> list[Path]:
    if image.is_dir():
        return sorted(path for path in image.rglob("*") if path.is_file())
    other = image.with_suffix(".img")
    return [image, other] if image.suffix == ".hdr" and other.is_file() else [image]
