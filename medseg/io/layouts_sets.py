"""Data sets as the Medical Segmentation Decathlon and nnU-Net lay them out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.image.study import Study
from medseg.io.layouts_files import Found, images_in, some, stem

_INDEXED = re.compile(r"(.+)_([0-9]{4})")
DESCRIPTION = "dataset.json"
_LARGEST = 50_000_000


def described_in(file: Path) -> Mapping[str, Any]:
    """What a dataset.json says; InputError E_NO_INPUT where it is not a JSON mapping."""
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError("too large")
        said = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("E_NO_INPUT", f"is not a JSON file ({error})", file) from None
    if not isinstance(said, dict):
        raise InputError("E_NO_INPUT", "is not a JSON mapping", file)
    return said


def is_decathlon(said: Mapping[str, Any]) -> bool:
    """Whether a dataset.json lists its files, as the Decathlon's do."""
    return any(isinstance(said.get(part), list) and said[part] for part in ("training", "test"))


def decathlon(file: Path, said: Mapping[str, Any], channels: Sequence[str]) -> Found:
    """The labelled studies that a dataset.json lists, or where there are none its tests."""
    if len(channels) > 1:
        raise InputError(
            "E_NO_INPUT", "a Decathlon data set has one file a study; use one channel", file
        )
    parts = [part for part in ("training", "test") if said.get(part)]
    studies = [_listed(file, entry) for entry in said[parts[0]]]
    notes = []
    if len(parts) > 1:
        notes.append(f"left out: unlabelled test studies of {file.name} ({len(said['test'])})")
    return Found("Decathlon", tuple(studies), tuple(notes))


def _listed(file: Path, entry: Any) -> Study:
    image = entry.get("image") if isinstance(entry, dict) else entry
    label = entry.get("label") if isinstance(entry, dict) else None
    name = stem(Path(image)) if isinstance(image, str) else None
    if name is None or not isinstance(label, str | None):
        raise InputError("E_NO_INPUT", f"lists {entry!r:.80}, which names no image", file)
    mask = None if label is None else file.parent / label
    return Study(name, (file.parent / str(image),), mask)


def indexed(folder: Path, channels: Sequence[str]) -> dict[str, dict[int, Path]] | None:
    """Files ``<study>_0000`` by study and channel; None unless the whole folder is so.

    A folder of numbered patients is no such thing: every study has to begin with 0000, and all
    have to go equally far.
    """
    groups: dict[str, dict[int, Path]] = {}
    for name, path in images_in(folder):
        match = _INDEXED.fullmatch(name)
        if match is None:
            return None
        groups.setdefault(match[1], {})[int(match[2])] = path
    highest = {max(files) for files in groups.values()}
    whole = all(0 in files for files in groups.values())
    if folder.name in ("imagesTr", "imagesTs") and groups:
        return groups
    if len(groups) == 1 and len(next(iter(groups.values()))) != len(channels):
        return None
    return groups if whole and len(highest) == 1 else None


def nnunet(
    folder: Path, groups: Mapping[str, Mapping[int, Path]], channels: Sequence[str]
) -> Found:
    """Studies of an images folder, their channels by index, their masks in labelsTr beside."""
    place, notes = _places(folder.parent / DESCRIPTION, channels)
    masks = folder.parent / folder.name.replace("images", "labels")
    known = dict(images_in(masks)) if masks != folder and masks.is_dir() else {}
    studies = []
    for name, files in groups.items():
        example = next(iter(files.values()))
        ending = example.name[len(name) + 5 :]
        # A channel that is not there keeps its path: the study fails by name when it is read.
        images = tuple(files.get(i, folder / f"{name}_{i:04d}{ending}") for i in place)
        studies.append(Study(name, images, known.get(name)))
    unread = {index for files in groups.values() for index in files} - set(place)
    if unread:
        there = some(f"{index:04d}" for index in sorted(unread))
        notes.append(f"channels {there} are there and not read")
    return Found("nnU-Net", tuple(studies), tuple(notes))


def _places(file: Path, channels: Sequence[str]) -> tuple[list[int], list[str]]:
    """The index of each channel: by name where dataset.json knows all names, else in order."""
    by_order = list(range(len(channels)))
    if not file.is_file():
        return by_order, []
    said = described_in(file)
    named = said.get("channel_names") or said.get("modality") or {}
    if not isinstance(named, dict) or not all(str(index).isdecimal() for index in named):
        return by_order, []
    places = {str(name).casefold(): int(index) for index, name in named.items()}
    if all(channel.casefold() in places for channel in channels):
        return [places[channel.casefold()] for channel in channels], []
    if len(channels) == 1:
        return by_order, []
    theirs = ", ".join(f"{index} {name}" for index, name in named.items())
    told = ", ".join(f"{index} {name}" for index, name in enumerate(channels))
    return by_order, [f"channels are taken in order ({told}); {file.name} says {theirs}"]
