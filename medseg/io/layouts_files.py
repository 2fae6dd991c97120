"""What layouts share: names of image files, what lies in a folder, and ids of studies."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.image.study import Study

if TYPE_CHECKING:
    from medseg.io.dicom.stacks import Pile

SUFFIXES = (".nii.gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Names that a scan or a mask may end in; pairs are known by their header."""
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_SHOWN = 3


@dataclass(frozen=True)
class Found:
    """The layout's name, its studies sorted by name, and what should be known about them.

    ``said`` has a few words on studies whose names and files say nothing, ``piles`` the stacks of
    DICOM slices that each study of that layout stands for.
    """

    layout: str
    studies: tuple[Study, ...]
    notes: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)
    piles: Mapping[str, tuple[Pile, ...]] = field(default_factory=dict)


def stem(path: Path) -> str | None:
    """The name without the suffix of an image, or None where it has no such suffix."""
    lower = path.name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return path.name[: -len(suffix)]
    return None


def inside(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted by name."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def images_in(folder: Path) -> list[tuple[str, Path]]:
    """Name and path of everything in a folder that is called as an image and is no folder.

    What lies behind a name is not looked at: a pipe or a broken link fails when it is read.
    """
    named = ((stem(path), path) for path in inside(folder))
    return [(name, path) for name, path in named if name is not None and not path.is_dir()]


def some(names: Iterable[object]) -> str:
    """The first few of several names, and how many more there are."""
    texts = [printable(str(name)) for name in names]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def printable(text: str) -> str:
    """The text on one line, whatever a file's name may hold."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def normal(name: str) -> str:
    """Names that a file system may take for one another become one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def id_of(name: str) -> str:
    """The id of a study: its name, or for unusual names a plain one that is always the same."""
    if _ID.fullmatch(name):
        return name
    letters = unicodedata.normalize("NFKD", name)
    bare = "".join(c for c in letters if not unicodedata.combining(c))
    bare = re.sub(r"[^A-Za-z0-9._-]+", "_", bare).strip("._-")[:80]
    digest = sha256(os.fsencode(unicodedata.normalize("NFC", name))).hexdigest()[:8]
    return f"{bare or 'study'}-{digest}"


def holdings(folder: Path) -> str:
    """What is in a folder, in a few words, for someone who looked for something else."""
    entries = inside(folder)
    if not entries:
        return "it is empty"
    folders = [path for path in entries if path.is_dir()]
    files = [path for path in entries if path not in folders]
    parts = []
    for kind, paths in (("file", files), ("folder", folders)):
        if paths:
            count = f"{len(paths)} {kind}{'s' if len(paths) > 1 else ''}"
            parts.append(f"{count} ({some(path.name for path in paths)})")
    return "it holds " + " and ".join(parts)
