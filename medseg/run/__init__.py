"""Floor 5: the verbs. Each takes a pipeline and gives a summary; none prints.

The room and its first verb share their word, so the package itself can be called:
``medseg.run("pipeline.yaml")`` is ``medseg.run.verbs.run("pipeline.yaml")``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package as a verb."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Segment scans; the options are those of ``medseg.run.verbs.run``."""
        from medseg.run.verbs import run

        return run(*args, **options)


sys.modules[__name__].__class__ = _Callable
