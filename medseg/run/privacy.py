"""What studies are called in all that a run writes and says."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import Caution, MedsegError, PipelineError
from medseg.image import Study
from medseg.image.study import Stack
from medseg.io import Found
from medseg.pipeline import Pipeline

_LEAST_BYTES = 16
_DIGITS = 16
_HIDDEN = "…"


@dataclass(frozen=True)
class Names:
    """Names as they are, or where there is a ``key`` the first digits of their keyed SHA-256.

    Whoever has the key can find the study of a name again; nobody else can, not even by trying
    all names that there are.
    """

    key: bytes | None = None
    root: Path = Path()

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
        return cls(key, pipeline.input.path or Path())

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
        """An error that names no file of the study."""
        if self.key is None:
            return error
        return type(error)(error.code, self._hidden(study, error.message))

    def cautions(self, study: Study, cautions: Iterable[Caution]) -> list[Caution]:
        """Warnings that name no file of the study."""
        if self.key is None:
            return list(cautions)
        return [Caution(one.code, self._hidden(study, one.message)) for one in cautions]

    def _hashed(self, name: str) -> str:
        assert self.key is not None
        return hmac.digest(self.key, name.encode("utf-8", "surrogateescape"), "sha256").hex()[
            :_DIGITS
        ]

    def _hidden(self, study: Study, text: str) -> str:
        words = sorted(set(_words(study, self.root)), key=len, reverse=True)
        for word in words:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", _HIDDEN, text)
        return text


def _words(study: Study, root: Path) -> Iterator[str]:
    """Paths of a study, and what they are made of below the folder that was asked for."""
    paths = [] if study.reference is None else [study.reference]
    for image in study.images:
        paths += [image.folder, *image.files] if isinstance(image, Stack) else [image]
    for path in paths:
        yield str(path)
        own = path.relative_to(root) if path.is_relative_to(root) else path
        for part in (*own.parts, path.name):
            yield part
            yield part.partition(".")[0] or part
