"""The audit of a data set: what does not belong together, said before training begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any, Literal

from medseg.errors import InputError, StudyError
from medseg.execution import serial
from medseg.image import Labels, Stack, Study
from medseg.io import Found, ReadOptions, find_studies, write_atomically
from medseg.io.layouts_files import images_in
from medseg.run.events import Note, StageStarted, Watch, unheard
from medseg.run.examination import Examined, Seen, examined

Kind = Literal[
    "orphan image",
    "orphan label",
    "other grid",
    "not finite",
    "label value",
    "duplicate",
    "unreadable",
]
_KINDS: Mapping[str, Kind] = {
    "E_LABEL_GEOMETRY": "other grid",
    "E_NONFINITE": "not finite",
    "E_LABEL_VALUES": "label value",
    "E_LABEL_NOT_INTEGER": "label value",
}


@dataclass(frozen=True)
class Fault:
    """Something wrong with a study: what kind, what was found, and in which file."""

    kind: Kind
    study: str
    message: str
    path: str | None = None

    def __str__(self) -> str:
        where = f" ({self.path})" if self.path else ""
        return f"{self.study}: {self.kind}: {self.message}{where}"


@dataclass(frozen=True)
class Audit:
    """Sound studies, what is wrong with the others, and where all of them were looked for."""

    studies: tuple[Study, ...]
    faults: tuple[Fault, ...]
    found: Found
    seen: tuple[Seen, ...] = ()
    volumes_ml: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, tuple[int, ...]]:
        """The values of each study's mask, without 0."""
        return {name: tuple(volumes) for name, volumes in self.volumes_ml.items()}

    def volumes_seen(self, labels: Labels, names: Iterable[str]) -> dict[str, tuple[float, float]]:
        """The least and the most ml of each label, over those of some studies that have it.

        Rounded outwards to a tenth of a microlitre.
        """
        known = [self.volumes_ml.get(name, {}) for name in names]
        told = {}
        for label in labels:
            volumes = [sum(one.get(value, 0.0) for value in label.values) for one in known]
            there = [volume for volume in volumes if volume]
            if there:
                least, most = floor(min(there) * 1e4) / 1e4, ceil(max(there) * 1e4) / 1e4
                told[label.name] = (least, most)
        return told


@dataclass(frozen=True)
class Looked:
    """An earlier look at a study: files as they were, digest of voxels, faults, ml of values."""

    files: tuple[tuple[str, int, int], ...]
    digest: str
    faults: tuple[Fault, ...]
    volumes_ml: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """Where a data set is, and how it is read."""

    path: Path
    reference: Path | None = None
    channels: tuple[str, ...] = ("image",)
    options: ReadOptions = field(default_factory=ReadOptions)


def audit(
    where: Where,
    labels: Labels | None,
    *,
    whole: bool = False,
    known: Mapping[str, Looked] | None = None,
    keep: Callable[[Mapping[str, Looked]], None] = lambda _: None,
    watch: Watch = unheard,
) -> Audit:
    """Look at every study: orphans, other grids, NaN, values without a label, duplicates.

    Without ``labels`` every value is a label. ``whole`` measures what a plan wants to know.
    What is ``known`` from an earlier look is not read again; ``keep`` hears of all looks.
    Raises InputError where there are no studies at all.
    """
    found = find_studies(
        where.path,
        reference=where.reference,
        channels=where.channels,
        series=where.options.series,
    )
    pairs = [study for study in found.studies if study.reference is not None]
    if not pairs:
        told = f"{len(found.studies)} studies and no reference mask among them; give --reference"
        raise InputError("E_NO_INPUT", told, where.path)
    watch(StageStarted(f"auditing {len(pairs)} studies"))
    looks: dict[str, Looked] = {}
    seen: list[Seen] = []
    earlier = known or {}
    for study in pairs:
        files = files_as_they_are(study)
        old = earlier.get(study.name)
        if old is not None and old.files == files and not whole:
            looks[study.name] = old
            continue
        found_out = _looked_at(study, where.options, labels, whole)
        wrong = tuple(_fault(study, error) for error in found_out.errors)
        looks[study.name] = Looked(files, found_out.digest, wrong, found_out.volumes_ml)
        if found_out.seen is not None:
            seen.append(found_out.seen)
    keep(looks)
    faults = [fault for look in looks.values() for fault in look.faults]
    faults += _twins(looks)
    bad = {fault.study for fault in faults}
    faults += [*_without_mask(found.studies), *_unclaimed(found)]
    return Audit(
        tuple(study for study in pairs if study.name not in bad),
        tuple(sorted(faults, key=lambda fault: fault.study)),
        found,
        tuple(one for one in seen if one.name not in bad),
        {name: look.volumes_ml for name, look in looks.items()},
    )


def tell(result: Audit, watch: Watch) -> None:
    """Every fault as a note; nothing where all is well."""
    for fault in result.faults:
        watch(Note(f"left out: {fault}"))


def _looked_at(study: Study, options: ReadOptions, labels: Labels | None, whole: bool) -> Examined:
    (done,) = serial(lambda one: examined(one, options, labels, whole), [study])
    if done.result is not None:
        return done.result
    assert done.error is not None
    return Examined(study, errors=(done.error,))


def _fault(study: Study, error: StudyError) -> Fault:
    kind: Kind = _KINDS.get(error.code, "unreadable")
    if error.code == "E_NOT_FOUND":
        of_mask = error.path == str(study.reference)
        kind = "orphan image" if of_mask else "orphan label"
    return Fault(kind, study.name, f"{error.code} {error.message}", error.path)


def _without_mask(studies: Sequence[Study]) -> Iterator[Fault]:
    for study in studies:
        if study.reference is None:
            path = str(study.images[0]) if study.images else None
            yield Fault("orphan image", study.name, "it has no reference mask", path)


def _unclaimed(found: Found) -> Iterator[Fault]:
    """Files beside those of the studies that belong to none of them.

    Where all masks, or all images, are in one folder; a manifest is a choice and leaves out.
    """
    if found.layout in ("manifest", "one file"):
        return
    masks = [study.reference for study in found.studies if study.reference is not None]
    images = [one for study in found.studies for one in study.images if isinstance(one, Path)]
    claimed = {path.resolve() for path in (*masks, *images)}
    sides: tuple[tuple[Kind, Sequence[Path], str], ...] = (
        ("orphan label", masks, "no image belongs to this mask"),
        ("orphan image", images, "no study has this image"),
    )
    for kind, paths, told in sides:
        folders = {path.parent for path in paths}
        if len(folders) != 1 or not (folder := folders.pop()).is_dir():
            continue
        for name, path in images_in(folder):
            if path.resolve() not in claimed:
                yield Fault(kind, name, told, str(path))


def _twins(looks: Mapping[str, Looked]) -> Iterator[Fault]:
    """Studies with the image of another, which is kept: the first that has no other fault."""
    first: dict[str, str] = {}
    for name, look in sorted(looks.items(), key=lambda one: bool(one[1].faults)):
        if not look.digest:
            continue
        other = first.setdefault(look.digest, name)
        if other != name:
            told = f"its image has the very voxels of {other}"
            yield Fault("duplicate", name, told, look.files[0][0])


def files_as_they_are(study: Study) -> tuple[tuple[str, int, int], ...]:
    """Each file with its size and the time it was changed; what is not there has neither."""
    found = []
    images = [file for one in study.images for file in _files_of(one)]
    for path in (*images, *((study.reference,) if study.reference else ())):
        try:
            said = path.stat()
            found.append((str(path), said.st_size, said.st_mtime_ns))
        except OSError:
            found.append((str(path), -1, -1))
    return tuple(found)


def _files_of(image: Path | Stack) -> tuple[Path, ...]:
    return image.files if isinstance(image, Stack) else (image,)


def write_looks(path: Path, looks: Mapping[str, Looked], asked: str) -> None:
    """Keep looks for a later start; ``asked`` is what they were by: labels and options."""
    told: dict[str, Any] = {"asked": asked, "studies": {n: asdict(k) for n, k in looks.items()}}
    write_atomically(path, (json.dumps(told, indent=1) + "\n").encode())


def read_looks(path: Path, asked: str) -> Mapping[str, Looked]:
    """The looks of an earlier start; none where it asked for something else."""
    try:
        told = json.loads(path.read_bytes())
        if told["asked"] != asked:
            return {}
        return {
            name: Looked(
                tuple((str(f), int(size), int(time)) for f, size, time in one["files"]),
                one["digest"],
                tuple(Fault(**fault) for fault in one["faults"]),
                {int(value): float(ml) for value, ml in one["volumes_ml"].items()},
            )
            for name, one in told["studies"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
