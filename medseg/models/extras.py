"""Packages that are not medseg's own: asked for when a network of theirs is built."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from medseg.errors import ModelError


def from_extra(network: str, package: str, *names: str) -> list[Any]:
    """What ``package`` has under ``names``.

    Raises ModelError E_CONFIG, which names the extra to install, where the package is not there
    or cannot be imported, as where torchvision was built for another torch.
    """
    try:
        module = import_module(package)
        # Some packages import their parts only now.
        return [getattr(module, name) for name in names]
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        told = (str(_first(error)).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            "E_CONFIG",
            f"network '{network}' needs {package}, which cannot be imported ({told}):"
            ' pip install "medseg[pretrained]", with a torchvision that was built for this torch',
        ) from error


def _first(error: BaseException) -> BaseException:
    """What an error was raised from in the end."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
