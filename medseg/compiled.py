"""Loops over voxels that are compiled when first called, and threads to share their rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

_told: list[int] = []
Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compiled(function: Compiled) -> Compiled:
    """Compile a loop when it is first called; later processes find it on disk.

    Threads are Python's own, as a compiled loop lets go of the interpreter: numba's would change
    how many threads torch computes with.
    """
    try:
        made = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # Where neither the package nor the home folder can be written to, nothing is kept.
        made = njit(nogil=True)(function)
    return cast(Compiled, made)


def threads() -> int:
    """How many threads share a loop: as ``use_threads`` said, or OMP_NUM_THREADS, or all cores."""
    if _told:
        return _told[-1]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(count: int) -> None:
    """From now on compiled loops share their rows among ``count`` threads."""
    _told[:] = [count]


def by_rows(loop: Callable[..., None], rows: int, threads: int, *arguments: Any) -> None:
    """Run ``loop(first, stop, *arguments)`` over all rows, some at a time in each thread."""
    if threads < 2 or rows < 2:
        loop(0, rows, *arguments)
        return
    # Some rows are far more work than others, so that each thread takes several parts.
    edges = np.linspace(0, rows, min(rows, 8 * threads) + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(loop, a, b, *arguments) for a, b in pairwise(edges)]
    for one in parts:
        one.result()
