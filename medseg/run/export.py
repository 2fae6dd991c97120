"""``medseg export``: networks as files that other programs run, and beside them how to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from medseg.errors import ModelError, OutputError
from medseg.image import Labels
from medseg.io import write_atomically
from medseg.models import Network
from medseg.pipeline import Pipeline, check_ready, load_pipeline, step_name
from medseg.run.records import versions

if TYPE_CHECKING:
    from torch import nn

    from medseg.inference import Slices, SlidingWindow

Target: TypeAlias = Literal["pt2", "onnx", "openvino", "monai_bundle"]
DESCRIPTION = "medseg.json"
_NEAR = 1e-4
"""How far an exported network's logits may lie from torch's, as a share of the largest."""


@dataclass(frozen=True)
class ExportSummary:
    """What was written, how far its logits are from torch's, and what should be known."""

    output: Path
    files: tuple[Path, ...]
    largest_difference: float
    notes: tuple[str, ...] = ()


def export(pipeline: Pipeline, output: Path, to: Target) -> ExportSummary:
    """Write a trained pipeline's networks for another program into the folder ``output``.

    Each takes images (1, C, *window) and gives logits (1, K, *window); beside them medseg.json
    says what goes before and after. Raises ModelError where there is no network with weights or
    the program cannot take it, OutputError E_VERIFY where what was written says something else.
    """
    steps = _asking(pipeline)
    if to == "monai_bundle":
        from medseg.run.bundle import write_bundle

        return write_bundle(pipeline, steps, output)
    from medseg.inference import exporting

    if wanted := exporting.missing(to):
        extra = {"onnx": "onnxruntime"}.get(to, to)
        told = f"'{to}' needs {', '.join(wanted)}: pip install \"medseg[{extra}]\""
        raise ModelError("E_CONFIG", told)
    made: list[dict[str, Any]] = []
    files: list[Path] = []
    for number, step in enumerate(steps):
        name = "network" if len(steps) == 1 else f"network_{number}"
        with TemporaryDirectory(prefix="medseg-") as folder:
            entry, written = exported_network(pipeline, step, to, Path(folder))
            for file in written:
                place = output / f"{name}{file.suffix}"
                sha256 = write_atomically(place, file.read_bytes())
                entry.setdefault("sha256", {})[place.name] = sha256
                files.append(place)
        made.append({"file": f"{name}{written[0].suffix}", **entry})
    said = description(pipeline) | {"networks": made}
    files.append(output / DESCRIPTION)
    text = json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(files[-1], text.encode())
    largest = max(one["largest_difference"] for one in made)
    return ExportSummary(output, tuple(files), largest)


def _asking(pipeline: Pipeline) -> list[SlidingWindow | Slices]:
    check_ready(pipeline)
    steps = [step for step in pipeline.inference if isinstance(getattr(step, "model", 0), Network)]
    if not steps or len(steps) < len(pipeline.inference):
        told = f"'{pipeline.name}' does not ask networks alone, so there is nothing to export"
        raise ModelError("E_CONFIG", told)
    return steps  # type: ignore[return-value]


def channels_of(pipeline: Pipeline) -> int:
    """How many channels the networks see: the images', and those of a cascade's first mask."""
    count = len(pipeline.input.channels)
    if pipeline.previous is not None:
        count += len(load_pipeline(pipeline.previous.pipeline).labels.values)
    return count


def module_of(pipeline: Pipeline, step: SlidingWindow | Slices) -> nn.Module:
    """A step's network with its weights, on the CPU, ready to be asked."""
    from medseg.models.weights import load_weights

    assert step.weights is not None
    module = step.model.without_download()(channels_of(pipeline), pipeline.labels.channels)
    load_weights(module, step.weights)
    return module.requires_grad_(False).eval()


def exported_network(
    pipeline: Pipeline, step: SlidingWindow | Slices, to: Target, folder: Path
) -> tuple[dict[str, Any], list[Path]]:
    """A network's file or files in a folder, the one to open first, and what is told of it."""
    import torch

    from medseg.inference import exporting

    module = module_of(pipeline, step)
    shape = (1, channels_of(pipeline), *step.window)
    assert to != "monai_bundle"
    try:
        with exporting.quiet():
            file = exporting.write(to, exporting.exported(module, shape), folder)
            ask = exporting.opened(to, file)
            image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                own, other = module(image), ask(image)
    # Whatever an exporter or a compiler of graphs cannot do ends in an error of its own kind.
    except Exception as error:
        told = f"'{to}' cannot take the network '{step.model.name}': {error}"
        raise ModelError("E_CONFIG", told.splitlines()[0][:300]) from error
    apart = float((own - other).abs().max())
    if not apart <= _NEAR * max(1.0, float(own.abs().max())):
        told = f"its logits differ from torch's by {apart:.2g}"
        raise OutputError("E_VERIFY", told, file.name)
    written = sorted(folder.iterdir(), key=lambda one: one != file)
    entry = {
        "input": list(shape),
        "output": list(own.shape),
        "dtype": "float32",
        "largest_difference": apart,
    }
    return entry, written


def description(pipeline: Pipeline) -> dict[str, Any]:
    """What goes before and after the networks, every option said."""
    return {
        "name": pipeline.name,
        "description": pipeline.description,
        "labels": _said(pipeline.labels),
        "ignore": pipeline.labels.ignore,
        "channels": list(pipeline.input.channels),
        "within": _inner(pipeline.within),
        "preprocess": [_said(step) for step in pipeline.preprocess],
        "previous": _inner(pipeline.previous),
        "inference": [_said(step) for step in pipeline.inference],
        "refine": [_said(step) for step in pipeline.refine],
        "postprocess": [_said(step) for step in pipeline.postprocess],
        "versions": dict(versions()),
    }


def _inner(section: Any) -> Any:
    """Another pipeline that has to be asked first; it is exported on its own."""
    if section is None:
        return None
    return {**_said(section), "pipeline": load_pipeline(section.pipeline).name}


_PLACES = ("weights", "device", "engine", "precision", "batch")


def _said(value: Any) -> Any:
    """A value as JSON, with every option; the places of this machine are left out."""
    if isinstance(value, Labels):
        return {label.name: list(label.values) for label in value}
    if is_dataclass(value) and not isinstance(value, type):
        options = {
            one.name: _said(getattr(value, one.name))
            for one in fields(value)
            if one.init and one.name not in _PLACES
        }
        if isinstance(value, Network):
            return {"name": value.name, **options}
        name = step_name(value)
        return options if name is None else {name: options}
    if isinstance(value, Mapping):
        return {str(key): _said(one) for key, one in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [_said(one) for one in value]
    return value.name if isinstance(value, Path) else value
