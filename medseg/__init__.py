"""medseg: CT and MRI scans to masks, from one readable pipeline file.

    import medseg

    result = medseg.run("pipelines/quickstart.yaml", output="out/quickstart")

``run``, ``plan``, ``train``, ``evaluate`` and ``export`` are verbs of the command line; they return
values and raise ``MedsegError``s. Everything is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.errors import MedsegError

if TYPE_CHECKING:
    from medseg.io import find_studies
    from medseg.pipeline import load_pipeline
    from medseg.run.verbs import evaluate, export, plan, run, train

__version__ = "0.1.0"
__all__ = [
    "MedsegError",
    "__version__",
    "evaluate",
    "export",
    "find_studies",
    "load_pipeline",
    "plan",
    "run",
    "train",
]

_HOMES = {
    "evaluate": "medseg.run.verbs",
    "export": "medseg.run.verbs",
    "find_studies": "medseg.io",
    "load_pipeline": "medseg.pipeline",
    "plan": "medseg.run.verbs",
    "train": "medseg.run.verbs",
}


def __getattr__(name: str) -> Any:
    if name == "run":
        # The room and its verb share the word: the package itself can be called.
        return import_module("medseg.run")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
