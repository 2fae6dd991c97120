"""pydicom and highdicom, asked for when the first DICOM file is met, and kept quiet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError, StudyError


def pydicom() -> Any:
    """The package pydicom; InputError E_CONFIG names the extra where it is not there."""
    return _package("pydicom")


def highdicom() -> Any:
    """The package highdicom; InputError E_CONFIG names the extra where it is not there."""
    pydicom()
    with quiet():
        return _package("highdicom")


@contextmanager
def quiet() -> Iterator[None]:
    """No word of pydicom's is heard: its warnings and log lines quote what files say."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """As ``quiet``; what pydicom raises over a damaged value is a StudyError E_DICOM_TAG.

    Values are parsed when they are first looked at, so that may be anywhere.
    """
    with quiet():
        try:
            yield
        except (MedsegError, MemoryError, OSError):
            raise
        except Exception as error:
            told = f"holds a tag that cannot be read ({type(error).__name__})"
            raise StudyError("E_DICOM_TAG", told, path) from None


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            "E_CONFIG", f'DICOM needs {name}, which is not there: pip install "medseg[dicom]"'
        ) from None
