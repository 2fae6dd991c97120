"""A pipeline's networks as other programs' files, and in words what goes before and after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import ModelError, OutputError
from medseg.image import Labels
from medseg.models import Network
from medseg.pipeline import Pipeline, load_pipeline, step_name
from medseg.run.records import versions

if TYPE_CHECKING:
    from torch import nn

    from medseg.inference import Slices, SlidingWindow
    from medseg.inference.exporting import Kind

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
    pipeline: Pipeline, step: SlidingWindow | Slices, to: Kind, folder: Path
) -> tuple[dict[str, Any], list[Path]]:
    """A network's file or files in a folder, the one to open first, and what is told of it."""
    import torch

    from medseg.inference import exporting

    module = module_of(pipeline, step)
    shape = (1, channels_of(pipeline), *step.window)
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
