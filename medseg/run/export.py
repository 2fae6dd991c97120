"""``medseg export``: networks as files that other programs run, and beside them how to use them."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from medseg.errors import ModelError
from medseg.io import write_atomically
from medseg.models import Network
from medseg.pipeline import Pipeline, check_ready
from medseg.run.bundle import write_bundle
from medseg.run.exported import DESCRIPTION, ExportSummary, description, exported_network

if TYPE_CHECKING:
    from medseg.inference import Slices, SlidingWindow

Target: TypeAlias = Literal["pt2", "onnx", "openvino", "monai_bundle"]


def export(pipeline: Pipeline, output: Path, to: Target) -> ExportSummary:
    """Write a trained pipeline's networks for another program into the folder ``output``.

    Each takes images (1, C, *window) and gives logits (1, K, *window); beside them medseg.json
    says what goes before and after. Raises ModelError where there is no network with weights or
    the program cannot take it, OutputError E_VERIFY where what was written says something else.
    """
    steps = _asking(pipeline)
    if to == "monai_bundle":
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
