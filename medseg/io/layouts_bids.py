"""Data sets after the Brain Imaging Data Structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from medseg.errors import InputError
from medseg.image.study import Study
from medseg.io.layouts_files import Found, images_in, inside, some

_KINDS = ("anat", "pet", "ct", "dwi", "perf", "func", "fmap")
_MASKS = ("dseg", "mask", "probseg")


@dataclass(frozen=True)
class _File:
    """One image: its subject and session, all its entities, and its suffix."""

    visit: str
    entities: str
    suffix: str
    path: Path


def is_bids(folder: Path) -> bool:
    """Whether a folder holds subjects."""
    return any(path.name.startswith("sub-") and path.is_dir() for path in inside(folder))


def bids(folder: Path, channels: Sequence[str]) -> Found:
    """A study for each visit, or for each image where a visit has several of a kind.

    A channel is a BIDS suffix such as T1w. Masks are looked for in ``derivatives``.
    """
    files = [file for file in _files(folder) if file.suffix not in _MASKS]
    suffixes = _suffixes(folder, files, channels)
    chosen = [file for file in files if file.suffix in suffixes]
    studies = [
        Study(name, _images(group, suffixes)) for name, group in _grouped(chosen, suffixes).items()
    ]
    masks = _masks(folder)
    found, notes = [], []
    for study in studies:
        mine = [mask for mask in masks if _belongs(mask, study.name)]
        if len(mine) > 1:
            notes.append(
                f"{study.name} has {len(mine)} masks in derivatives ({some(m.name for m in mine)})"
                " and none was taken; say which by 'reference'"
            )
        found.append(Study(study.name, study.images, mine[0] if len(mine) == 1 else None))
    return Found("BIDS", tuple(found), tuple(notes))


def _visits(folder: Path) -> Iterable[tuple[str, Path]]:
    for subject in inside(folder):
        if not subject.name.startswith("sub-") or not subject.is_dir():
            continue
        sessions = [s for s in inside(subject) if s.name.startswith("ses-") and s.is_dir()]
        yield subject.name, subject
        for session in sessions:
            yield f"{subject.name}_{session.name}", session


def _files(folder: Path) -> list[_File]:
    files = []
    for visit, place in _visits(folder):
        for kind in _KINDS:
            if not (place / kind).is_dir():
                continue
            for name, path in images_in(place / kind):
                entities, _, suffix = name.rpartition("_")
                files.append(_File(visit, entities, suffix, path))
    return files


def _suffixes(folder: Path, files: Sequence[_File], channels: Sequence[str]) -> list[str]:
    """The BIDS suffix of each channel; the only one there is where none is named."""
    known = sorted({file.suffix for file in files})
    if not known:
        raise InputError("E_NO_INPUT", f"no image in sub-*/{{{','.join(_KINDS)}}}", folder)
    if list(channels) == ["image"] and len(known) == 1:
        return known
    lower = {suffix.lower(): suffix for suffix in known}
    for channel in channels:
        if channel.lower() not in lower:
            close = get_close_matches(channel.lower(), lower, n=1, cutoff=0.4)
            hint = f"; did you mean {lower[close[0]]}?" if close else ""
            raise InputError(
                "E_NO_INPUT",
                f"no image is called *_{channel}; there is {', '.join(known)}{hint}"
                " (a channel is named by 'input: {channels: [...]}')",
                folder,
            )
    return [lower[channel.lower()] for channel in channels]


def _grouped(files: Sequence[_File], suffixes: Sequence[str]) -> dict[str, list[_File]]:
    """Files by study: the visit where each suffix occurs at most once in it."""
    visits = defaultdict(list)
    for file in files:
        visits[file.visit].append(file)
    groups: dict[str, list[_File]] = defaultdict(list)
    for visit, members in visits.items():
        once = all(sum(f.suffix == suffix for f in members) <= 1 for suffix in suffixes)
        for file in members:
            groups[visit if once else file.entities].append(file)
    return groups


def _images(group: Sequence[_File], suffixes: Sequence[str]) -> tuple[Path, ...]:
    by_suffix = {file.suffix: file.path for file in group}
    first = group[0]
    # A suffix that is not there keeps its path: the study fails by name when it is read.
    missing = {
        suffix: first.path.with_name(first.path.name.replace(f"_{first.suffix}.", f"_{suffix}."))
        for suffix in suffixes
    }
    return tuple(by_suffix.get(suffix, missing[suffix]) for suffix in suffixes)


def _masks(folder: Path) -> list[Path]:
    derivatives = folder / "derivatives"
    if not derivatives.is_dir():
        return []
    places = [derivatives, *(path for path in inside(derivatives) if path.is_dir())]
    files = [file for place in places for file in _files(place)]
    return [file.path for file in files if file.suffix in ("dseg", "mask")]


def _belongs(mask: Path, study: str) -> bool:
    return mask.name.startswith((f"{study}_", f"{study}."))
