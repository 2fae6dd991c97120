"""What computes a network: torch itself, OpenVINO or ONNX Runtime, with the same weights.

A network is exported once for its window and kept, by digest, in the cache folder:
``MEDSEG_CACHE``, or ``medseg`` in the user's own. Where nothing can be written it is exported anew
in each process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from medseg.inference.exporting import as_onnx, as_openvino, exported, quiet
from medseg.models import Network
from medseg.models.checkpoint import Weights, weights_file

EngineName: TypeAlias = Literal["torch", "openvino", "onnxruntime"]
Ask: TypeAlias = Callable[[Tensor], Tensor]
_Run: TypeAlias = Callable[[Any], Any]
PACKAGES: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxscript"),
}


class Wanted(NamedTuple):
    """A network as an engine is to compute it; ``shape`` is that of a batch of windows."""

    model: Network
    weights: Weights
    shape: tuple[int, ...]
    labels: int
    precision: str
    stamp: tuple[int, ...]


def best_installed(device: torch.device) -> EngineName:
    """The fastest engine that is there for a device, without importing it."""
    if device.type == "cpu":
        if find_spec("openvino"):
            return "openvino"
        if all(find_spec(package) for package in PACKAGES["onnxruntime"]):
            return "onnxruntime"
    return "torch"


@lru_cache(maxsize=4)
def ready(
    engine: EngineName, wanted: Wanted, module: nn.Module, threads: int
) -> Callable[[], Ask] | str:
    """What begins to ask the network in another engine, or why that cannot be.

    Whoever asks begins for itself: an answer stands until the same one asks again.

    It takes (B, C, *window) and gives (B, K, *window). Fewer windows than the shape has are filled
    up, and what is said of the filling is left out.
    """
    for package in PACKAGES[engine]:
        if find_spec(package) is None:
            return f"engine '{engine}' needs {package}: pip install \"medseg[{engine}]\""
    convert = {"openvino": _openvino, "onnxruntime": _onnxruntime}[engine]
    try:
        with quiet():
            begin = convert(wanted, module, threads)
    # Whatever an exporter or a compiler of graphs cannot do ends in an error of its own kind.
    except Exception as error:
        told = f"engine '{engine}' cannot take the network '{wanted.model.name}': {error}"
        return told.splitlines()[0][:300]

    def begun() -> Ask:
        run = begin()

        def ask(windows: Tensor) -> Tensor:
            count = len(windows)
            if count < wanted.shape[0]:
                rest = windows.new_zeros((wanted.shape[0] - count, *windows.shape[1:]))
                windows = torch.cat([windows, rest])
            return torch.from_numpy(run(windows.contiguous().numpy())).movedim(-1, 1)[:count]

        return ask

    return begun


class _LabelsLast(nn.Module):
    """Logits with the labels last, as windows are added up."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, windows: Tensor) -> Tensor:
        logits: Tensor = self.module(windows)
        return logits.movedim(1, -1)


def _exported(wanted: Wanted, module: nn.Module) -> Any:
    return exported(_LabelsLast(module), wanted.shape)


def _openvino(wanted: Wanted, module: nn.Module, threads: int) -> Callable[[], _Run]:
    openvino = import_module("openvino")

    def convert(path: Path) -> None:
        as_openvino(_exported(wanted, module), path / "model")

    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}.get(
            wanted.precision, "f16"
        ),
    }
    with _kept("openvino", openvino.__version__, wanted, convert) as folder:
        compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", hints)

    def begin() -> _Run:
        request = compiled.create_infer_request()
        # What it gives stands until it is asked again; nobody keeps it for longer.
        return lambda windows: request.infer([windows], share_outputs=True)[0]

    return begin


def _onnxruntime(wanted: Wanted, module: nn.Module, threads: int) -> Callable[[], _Run]:
    runtime = import_module("onnxruntime")

    def convert(path: Path) -> None:
        as_onnx(_exported(wanted, module), path / "model")

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    with _kept("onnxruntime", runtime.__version__, wanted, convert) as folder:
        session = runtime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    name = session.get_inputs()[0].name
    return lambda: lambda windows: session.run(None, {name: windows})[0]


@contextmanager
def _kept(
    engine: str, version: str, wanted: Wanted, convert: Callable[[Path], None]
) -> Iterator[Path]:
    """The folder of a converted network: as it was kept, or as it is made now."""
    told = (engine, version, torch.__version__, repr(wanted.model), wanted.shape, wanted.labels)
    digest = hashlib.sha256(repr(told).encode())
    digest.update(weights_file(wanted.weights).read_bytes())
    place = cache_folder() / "engines" / digest.hexdigest()[:40]
    if (place / "done").exists():
        yield place
        return
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
    where = place.parent if os.access(place.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix=".making-") as making:
        folder = Path(making) / "model"
        folder.mkdir()
        convert(folder)
        (folder / "done").touch()
        if where is not None:
            # Another process may have been faster; its folder is as good.
            with suppress(OSError):
                folder.rename(place)
        yield place if (place / "done").exists() else folder


def cache_folder() -> Path:
    """Where converted networks are kept."""
    if given := os.environ.get("MEDSEG_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medseg"
