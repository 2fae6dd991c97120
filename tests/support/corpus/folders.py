"""Folders of scans whose names are odd, or that hold something else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from support.corpus.case import Case
from support.image_bytes import nifti


def _of(*names: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name in names:
            with open(os.path.join(os.fsencode(folder), os.fsencode(name)), "wb") as file:  # noqa: PTH118, PTH123
                file.write(nifti())
        return folder

    return make


def _named(name: str, file: str | bytes, plain: bool = False) -> Case:
    return Case(name, "folder", _of(file), warns=() if plain else ("W_NAME",))


def _refused(name: str, ends: str, *files: str) -> Case:
    return Case(name, "folder", _of(*files), ends)


def _manifest(name: str, ends: str, text: str) -> Case:
    def make(folder: Path) -> Path:
        (folder / "a.nii").write_bytes(nifti())
        (folder / "scans.csv").write_text(text)
        return folder / "scans.csv"

    return Case(name, "folder", make, ends)


def _empty(folder: Path) -> Path:
    return folder


def _texts(folder: Path) -> Path:
    (folder / "notes.txt").write_text("a")
    return folder


def _gone(folder: Path) -> Path:
    return folder / "nowhere"


def _loop(folder: Path) -> Path:
    (folder / "a.nii").write_bytes(nifti())
    (folder / "loop").symlink_to(".")
    return folder


FOLDERS = (
    _named("HTML", "<img src=x onerror=alert(1)>.nii"),
    _named("a formula", "=HYPERLINK(A1).nii"),
    _named("a line break", "a\nE_FORGED b.nii"),
    _named("what steers a terminal", "\x1b[31mred\x07.nii"),
    _named("what turns the direction of writing", "a\u202eb.nii"),
    _named("other letters", "Müller_肝臓.nii"),
    _named("blanks", " a b .nii"),
    _named("a quote", "a'b\"c.nii"),
    _named("a leading dash", "-rf.nii", plain=True),
    _named("a dollar", "$(touch PWNED).nii"),
    _named("bytes that are no text", b"a\xff\xfe.nii"),
    _named("250 bytes", "x" * 246 + ".nii"),
    _refused("a name that hides", "E_NO_INPUT", "....nii"),
    _named("a name that Windows keeps", "con.nii", plain=True),
    _named("plain", "liver_01.nii", plain=True),
    Case("a link that leads back", "folder", _loop),
    _refused("one name, two suffixes", "E_DUPLICATE_ID", "a.nii", "a.nii.gz"),
    _refused("capitals only apart", "E_DUPLICATE_ID", "a.nii", "A.nii"),
    _refused("an accent written in two ways", "E_DUPLICATE_ID", "\u00e9.nii", "e\u0301.nii"),
    Case("nothing", "folder", _empty, "E_NO_INPUT"),
    Case("texts only", "folder", _texts, "E_NO_INPUT"),
    Case("not there", "folder", _gone, "E_NO_INPUT"),
    _manifest("a manifest without columns", "E_NO_INPUT", "a,b\nc,d\n"),
    _manifest("a manifest with a hole", "E_NO_INPUT", "study,image\nx,\n"),
    _manifest("a manifest with a study twice", "E_DUPLICATE_ID", "study,image\nx,a.nii\nx,a.nii\n"),
    _manifest("a manifest without rows", "E_NO_INPUT", "study,image\n"),
    _manifest("a manifest of a file that is not there", "E_NOT_FOUND", "study,image\nx,b.nii\n"),
)
