"""Pipelines that must be refused, and odd ones that must not."""

from __future__ import annotations

import os
from pathlib import Path

from support.corpus.case import Case, put

GOOD = "name: corpus\nlabels: {bright: 1}\ninference:\n  - threshold: {minimum: 50}\n"
_LEVELS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
BOMB = f"l0: &l0 [lol]\n{_LEVELS}{GOOD}"


def _text(name: str, text: str | bytes, ends: str = "E_CONFIG") -> Case:
    return Case(
        name, "pipeline", put("p.yaml", text if isinstance(text, bytes) else text.encode()), ends
    )


def _more(name: str, line: str, ends: str = "E_CONFIG") -> Case:
    return _text(name, f"{GOOD}{line}\n", ends)


def _instead(name: str, old: str, new: str, ends: str = "E_CONFIG") -> Case:
    assert old in GOOD
    return _text(name, GOOD.replace(old, new), ends)


def _folder(folder: Path) -> Path:
    (folder / "p.yaml").mkdir()
    return folder / "p.yaml"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "p.yaml")
    return folder / "p.yaml"


def _endless(folder: Path) -> Path:
    (folder / "p.yaml").symlink_to("/dev/zero")
    return folder / "p.yaml"


PIPELINES = (
    _text("a pipeline", GOOD, "done"),
    _text("Windows's line ends", GOOD.replace("\n", "\r\n"), "done"),
    _text("a mark of byte order", b"\xef\xbb\xbf" + GOOD.encode(), "done"),
    _instead("a label in other letters", "bright", "肝臓", "done"),
    _instead("a label of HTML", "bright", "'<img src=x onerror=alert(1)>'", "done"),
    _instead("a label that is a formula", "bright", "'=HYPERLINK(\"x\")'", "done"),
    _text("a bomb of aliases", BOMB),
    _more("an anchor", "metrics: &a [dice]"),
    _more("Python's own tag", "metrics: !!python/object/apply:os.system ['touch PWNED']"),
    _more("a tag", "metrics: !!str dice"),
    _more("a merge key", "<<: {deterministic: true}"),
    _more("MONAI's $", "postprocess: [{$import: os}]"),
    _more("MONAI's _target_", "postprocess: [{_target_: os.system, command: touch PWNED}]"),
    _more("a step that is a path of Python", "postprocess: [os.system]"),
    _more("a key twice", "name: other"),
    _more("an unknown key", "postproces: [keep_largest]"),
    _more("an unknown step", "postprocess: [keep_largst]"),
    _more("a second document", "---\nname: b"),
    _more("nested 5000 deep", "metrics: " + "[" * 5000 + "]" * 5000),
    _more("a tab", "metrics:\n\t- dice"),
    _more("a bracket left open", "metrics: [dice"),
    _more("a NUL", "metrics: [\0]"),
    _more("NaN", "postprocess: [{remove_small: {volume_ml: .nan}}]"),
    _more("no for a truth", "deterministic: no"),
    _more("a list for a table", "input: [a, b]"),
    _more("a table for a list", "metrics: {dice: 1}"),
    _instead("a name that climbs out", "name: corpus", "name: ../../corpus"),
    _instead("a name with a slash", "name: corpus", "name: /tmp/corpus"),
    _instead("no name", "name: corpus\n", ""),
    _instead("no labels", "labels: {bright: 1}\n", ""),
    _instead("a label of 0", "bright: 1", "bright: 0"),
    _instead("a label of -1", "bright: 1", "bright: -1"),
    _instead("a label of 1.5", "bright: 1", "bright: 1.5"),
    _instead("two labels of one value", "bright: 1", "bright: 1, dark: 1"),
    _instead("words for a number", "minimum: 50", "minimum: fifty"),
    _instead("nothing for a number", "minimum: 50", "minimum:"),
    _instead("infinity for a number", "minimum: 50", "minimum: .inf"),
    _text("no bytes", b""),
    _text("remarks only", "# nothing\n"),
    _text("a list", "- a\n- b\n"),
    _text("a word", "hello\n"),
    _text("UTF-16", GOOD.encode("utf-16")),
    _text("bytes of no text", b"\xff\xfe\x00name: \x80\x81"),
    _text("2 MB of spaces", GOOD + " " * 2_000_000),
    _text("a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    Case("a folder", "pipeline", _folder, "E_NOT_FOUND"),
    Case("a pipe", "pipeline", _pipe, "E_NOT_A_FILE"),
    Case("a file without end", "pipeline", _endless, "E_NOT_A_FILE"),
    Case("not there", "pipeline", lambda folder: folder / "p.yaml", "E_NOT_FOUND"),
)
