"""pydicom and highdicom, asked for when the first DICOM file is met, and kept quiet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from medseg.errors import InputError


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


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            "E_CONFIG", f'DICOM needs {name}, which is not there: pip install "medseg[dicom]"'
        ) from None
