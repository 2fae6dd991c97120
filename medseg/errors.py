"""What can go wrong, said so that a person can act on it.

    MedsegError                one code, one sentence, one place
    ├── StudyError             this study has no mask; the batch goes on (exit 1)
    ├── PipelineError          the YAML, a site file or an option is wrong (exit 2)
    ├── ModelError             a model folder or its weights cannot be used (exit 2)
    ├── InputError             what was asked for is not there, or is there twice (exit 2)
    └── OutputError            the output folder cannot take the results (exit 2)

A ``Caution`` is the milder word: the mask was made, and this should be known about it.
Every code stands in ``medseg.codes`` with its cause and its cure.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath


class MedsegError(Exception):
    """Something a user can mend: its code, what was found and wanted, and where."""

    def __init__(self, code: str, message: str, path: str | PathLike[str] | None = None) -> None:
        super().__init__(code, message, None if path is None else fspath(path))
        self.code = code
        self.message = message
        self.path = None if path is None else fspath(path)

    def __str__(self) -> str:
        where = f" {self.path}" if self.path else ""
        return f"{self.code}{where}: {self.message}"


class StudyError(MedsegError):
    """This study cannot be done; the others can."""


class ModelError(MedsegError):
    """A model folder, its card or its weights cannot be used."""


class InputError(MedsegError):
    """Nothing to work on, or the same study twice."""


class OutputError(MedsegError):
    """The output folder cannot take the results."""


@dataclass(frozen=True)
class Complaint:
    """One mistake in a YAML file, at its line and column (counted from 1)."""

    path: str
    line: int
    column: int
    key: str
    message: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.key}: {self.message}"


class PipelineError(MedsegError):
    """A pipeline, site or label file is wrong; every mistake is listed."""

    def __init__(
        self,
        code: str,
        message: str,
        path: str | PathLike[str] | None = None,
        complaints: tuple[Complaint, ...] = (),
    ) -> None:
        super().__init__(code, message, path)
        self.args = (code, message, self.path, complaints)
        self.complaints = complaints


@dataclass(frozen=True)
class Caution:
    """A named warning that travels with a result."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
