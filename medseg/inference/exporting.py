"""A network as a file that other programs run: by torch.export, for ONNX and for OpenVINO."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

Kind: TypeAlias = Literal["pt2", "onnx", "openvino"]
PACKAGES: dict[str, tuple[str, ...]] = {
    "pt2": (),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
}
"""What has to be there to write a file of a kind, and to try it."""


def missing(kind: str) -> list[str]:
    """The packages that are wanted for a kind of file and are not installed."""
    return [package for package in PACKAGES[kind] if find_spec(package) is None]


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn and log of their own insides, and of packages that they do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def exported(module: nn.Module, shape: Sequence[int]) -> Any:
    """The module as a program for images of one shape (B, C, *space)."""
    with torch.inference_mode(mode=False), torch.no_grad():
        return torch.export.export(module, (torch.zeros(tuple(shape)),))


def write(kind: Kind, program: Any, folder: Path) -> Path:
    """Write a program as ``network`` with the kind's suffix; the file's path."""
    if kind == "pt2":
        torch.export.save(program, folder / "network.pt2")
        return folder / "network.pt2"
    return {"onnx": as_onnx, "openvino": as_openvino}[kind](program, folder / "network")


def as_onnx(program: Any, path: Path) -> Path:
    """Write a program as ONNX."""
    made = torch.onnx.export(program, dynamo=True, verbose=False)
    assert made is not None
    file = path.with_suffix(".onnx")
    made.save(str(file))
    return file


def as_openvino(program: Any, path: Path) -> Path:
    """Write a program as OpenVINO's pair of .xml and .bin."""
    openvino = import_module("openvino")
    # Not by convert_model, which tells Intel of it over the network.
    decoders = import_module("openvino.frontend.pytorch.fx_decoder")
    decoder = decoders.TorchFXPythonDecoder.from_exported_program(program)
    frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    file = path.with_suffix(".xml")
    openvino.save_model(model, file, compress_to_fp16=False)
    return file


def opened(kind: Kind, file: Path) -> Callable[[Tensor], Tensor]:
    """What a written file computes, on the CPU."""
    if kind == "pt2":
        loaded: Callable[[Tensor], Tensor] = torch.export.load(file).module()
        return loaded
    if kind == "onnx":
        runtime = import_module("onnxruntime")
        session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda image: torch.from_numpy(session.run(None, {name: image.numpy()})[0])
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = import_module("openvino").Core().compile_model(file, "CPU", hints)
    request = compiled.create_infer_request()
    return lambda image: torch.from_numpy(request.infer([image.numpy()])[0].copy())
