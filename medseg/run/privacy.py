"""What studies are called in all that a run writes and says."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from medseg.errors import Caution, MedsegError, PipelineError
from medseg.image import Study
from medseg.image.study import Stack
from medseg.io import Found
from medseg.pipeline import Pipeline

_LEAST_BYTES = 16
_DIGITS = 16
_HIDDEN = "…"
_QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
"""What Python's repr makes of a string; an apostrophe stands behind a letter."""


@dataclass(frozen=True)
class Names:
    """Names as they are, or where there is a ``key`` the first digits of their keyed SHA-256.

    Whoever has the key can find the study of a name again; nobody else can, not even by trying
    all names that there are. ``labels`` are the pipeline's own and need not be hidden.
    """

    key: bytes | None = None
    root: Path = Path()
    labels: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pipeline: Pipeline) -> Names:
        """As the pipeline wants it. Raises PipelineError E_CONFIG where its key is no secret."""
        path = pipeline.privacy.key
        if path is None:
            return cls()
        try:
            key = path.read_bytes()
        except OSError as error:
            told = f"the key of privacy cannot be read ({error.strerror})"
            raise PipelineError("E_CONFIG", told, path) from error
        if len(key) < _LEAST_BYTES:
            told = f"the key of privacy has {len(key)} bytes; it wants {_LEAST_BYTES} or more"
            raise PipelineError("E_CONFIG", told, path)
        return cls(key, pipeline.input.path or Path(), frozenset(pipeline.labels.names))

    def found(self, found: Found) -> Found:
        """Studies by the names that are written; notes about their own names are left out."""
        if self.key is None:
            return found
        studies = [replace(study, name=self._hashed(study.name)) for study in found.studies]
        studies.sort(key=lambda study: study.name)
        return replace(found, studies=tuple(studies), notes=(), said={}, piles={})

    def inputs(self, digests: Mapping[str, str]) -> dict[str, str]:
        """Digests by the names of files."""
        if self.key is None:
            return dict(digests)
        return {self._hashed(name): digest for name, digest in digests.items()}

    def patient(self, study: Study) -> dict[str, str]:
        """The patient of a study, by whom statistics draw, where a manifest has the column."""
        said = study.attributes.get("patient")
        if not said:
            return {}
        return {"patient": said if self.key is None else self._hashed(said)}

    def error(self, study: Study, error: MedsegError) -> MedsegError:
        """An error that names no file of the study, and none that it leads to."""
        if self.key is None:
            return error
        return type(error)(error.code, self._hidden(study, error.message))

    def cautions(self, study: Study, cautions: Iterable[Caution]) -> list[Caution]:
        """Warnings that name no file of the study, and none that it leads to."""
        if self.key is None:
            return list(cautions)
        return [Caution(one.code, self._hidden(study, one.message)) for one in cautions]

    def _hashed(self, name: str) -> str:
        assert self.key is not None
        return hmac.digest(self.key, name.encode("utf-8", "surrogateescape"), "sha256").hex()[
            :_DIGITS
        ]

    def _hidden(self, study: Study, text: str) -> str:
        # What is quoted comes from a file: its header's words, or where a link leads.
        kept = {repr(label) for label in self.labels}
        found = [quote.span() for quote in _QUOTED.finditer(text) if quote[0] not in kept]
        words = {spelt for word in _words(study, self.root) for spelt in _spellings(word)}
        for word in words:
            if word in text:
                whole = rf"(?<!\w){re.escape(word)}(?!\w)"
                found += [match.span() for match in re.finditer(whole, text)]
        return _without(text, found)


def _words(study: Study, root: Path) -> Iterator[str]:
    """Paths of a study, and what they are made of below the folder that was asked for.

    Of a name with dots, what stands before each of them: another file may differ behind it.
    """
    for path in _paths(study):
        yield str(path)
        own = path.relative_to(root) if path.is_relative_to(root) else path
        for part in (*own.parts, path.name):
            pieces = part.split(".")
            yield from (".".join(pieces[:count]) for count in range(1, len(pieces) + 1))


def _paths(study: Study) -> Iterator[Path]:
    """A study's files and folders, and all that lies in its folders."""
    if study.reference is not None:
        yield study.reference
    for image in study.images:
        if isinstance(image, Stack):
            yield from (image.folder, *image.files)
            continue
        yield image
        for folder, folders, files in os.walk(image):
            yield from (Path(folder, name) for name in (*folders, *files))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """A text with a sign in the place of each of its parts, which may overlap."""
    covered = bytearray(len(text))
    for begin, end in spans:
        covered[begin:end] = b"\1" * (end - begin)
    parts = groupby(zip(text, covered, strict=True), key=itemgetter(1))
    return "".join(_HIDDEN if hide else "".join(c for c, _ in part) for hide, part in parts)


def _spellings(word: str) -> tuple[str, ...]:
    """A name as it is, and as messages write it that show no signs which cannot be printed."""
    printable = "".join(c if c.isprintable() else "?" for c in word)
    return tuple(spelt for spelt in (word, printable) if spelt)
