"""What this machine has, as far as segmentation cares."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from medseg import __version__

_NEEDED = ("torch", "monai", "numpy", "scipy", "SimpleITK", "nibabel", "isal")
_EXTRA = {"jinja2": "report", "matplotlib": "report", "tensorboard": "tensorboard"}
_EXTRA |= {"distributed": "dask", "dask-jobqueue": "dask"}
_PROCESSOR = Path("/proc/cpuinfo")
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def findings() -> Iterator[tuple[str, str]]:
    """What is looked at, and what was found."""
    yield "medseg", __version__
    yield "Python", f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    for name in _NEEDED:
        yield name, _version(name) or "not installed: pip install medseg"
    for name, extra in _EXTRA.items():
        yield name, _version(name) or f"not installed: pip install 'medseg[{extra}]'"
    yield "viewer", _viewer()
    yield "processor", f"{_cores()} cores{_flags()}"
    yield "memory", _memory()
    yield from _devices()


def _viewer() -> str:
    """The viewer of reports, or how to have it."""
    from medseg.run.report.viewer_files import VERSION, viewer_script

    if viewer_script() is None:
        return "not installed: medseg doctor --add-viewer brings it where npm is"
    return f"NiiVue {VERSION}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flags() -> str:
    """Instructions that make networks fast here, where the system tells."""
    try:
        text = _PROCESSOR.read_text("utf-8", "replace")
    except OSError:
        return ""
    words = set()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            words |= set(line.partition(":")[2].split())
    found = [flag for flag in _FLAGS if flag in words]
    return f", {' '.join(found)}" if found else ""


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE") / 2**30
    total = os.sysconf("SC_PHYS_PAGES") * page
    try:
        return f"{total:.1f} GiB, {os.sysconf('SC_AVPHYS_PAGES') * page:.1f} GiB free"
    except ValueError:
        return f"{total:.1f} GiB"


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import torch
    except ImportError:
        return
    yield "threads", f"{torch.get_num_threads()} used by torch"
    if torch.backends.mps.is_available():
        yield "mps", "Apple GPU"
    for number in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(number)
        yield f"cuda:{number}", f"{found.name}, {found.total_memory / 2**30:.1f} GiB"
    if not torch.cuda.is_available():
        yield "cuda", "none found; networks run on the processor"
