"""Pipelines back to YAML, and to one number that stands for what they do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from medseg.image import Label, Labels
from medseg.io.options import LIMITS
from medseg.models import Network
from medseg.pipeline import rooms
from medseg.pipeline.loading import load_pipeline
from medseg.pipeline.parts import Input, Pipeline
from medseg.step import Step
from medseg.training import Training

_BARE = re.compile(r"(?:[A-Za-z_/]|\.\.?/)(?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
_NOT_TEXT = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_SECTIONS = (Input, Training)  # steps by their options only; no table holds them
_LONG = 76
_ELSEWHERE = ("path", "reference", *LIMITS, "rois")
# What came later and is as it was before, where nothing else is said.
_LATER = ("series", "missing_slices", "pet")
_ORDER = (
    *("name", "description", "labels", "ignore", "input", "within", "preprocess", "previous"),
    *("inference", "calibration", "refine", "postprocess", "metrics", "quality", "instances"),
    *("probabilities", "training", "output", "privacy", "deterministic"),
)
_DECIDES = (
    *("labels", "input", "within", "preprocess", "previous", "inference", "refine"),
    *("postprocess", "deterministic"),
)


def dump_pipeline(pipeline: Pipeline, folder: Path | None = None) -> str:
    """YAML that ``load_pipeline`` reads back equal; options at their defaults are left out.

    Paths are written as they are; absolute ones relative to ``folder`` where that is given.
    """
    said = _options(pipeline, folder)
    if pipeline.labels.ignore is not None:
        said["ignore"] = pipeline.labels.ignore
    return _yaml({key: said[key] for key in _ORDER if key in said})


def said_options(thing: Any) -> dict[str, Any]:
    """The options of a step, a network or a section that differ from their defaults."""
    said: dict[str, Any] = _plain(thing, None)
    return said


def pipeline_digest(pipeline: Pipeline) -> str:
    """SHA-256 over everything that can change a mask, the bytes of weights included.

    Not over where scans come from and masks go, the device, metrics, training and description.
    """
    text = json.dumps(_deciding(pipeline), sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def _deciding(pipeline: Pipeline) -> dict[str, Any]:
    said = {name: _fingerprint(getattr(pipeline, name)) for name in _DECIDES}
    for name in _ELSEWHERE:
        said["input"].pop(name, None)
    for name in _LATER:
        if getattr(pipeline.input, name) == getattr(Input(), name):
            said["input"].pop(name, None)
    # Pipelines keep the digest they had before there was anything to refine.
    if not pipeline.refine:
        del said["refine"]
    elif pipeline.calibration.temperature != 1:
        # What is refined is what networks were sure of.
        said["calibration"] = _fingerprint(pipeline.calibration)
    if pipeline.previous is None:
        del said["previous"]
    else:
        inner = load_pipeline(pipeline.previous.pipeline)
        said["previous"]["pipeline"] = pipeline_digest(inner)
    if pipeline.within is not None:
        said["within"]["pipeline"] = pipeline_digest(load_pipeline(pipeline.within.pipeline))
    return said


def _fingerprint(value: Any) -> Any:
    """The value as JSON; a path as the digest of its file's bytes."""
    if isinstance(value, Path):
        return _bytes_of(value) if value.is_file() else "absent"
    if is_dataclass(value) and not isinstance(value, type):
        named = {} if not isinstance(value, Step) else {"step": type(value).__name__}
        options = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
        options.pop("device", None)
        return named | {name: _fingerprint(option) for name, option in options.items()}
    if isinstance(value, Mapping):
        return {str(key): _fingerprint(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [_fingerprint(item) for item in value]
    # Equal numbers are one number: 1 and 1.0, 0 and -0.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bytes_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.default


def _options(thing: Any, folder: Path | None) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, as plain values."""
    return {
        one.name: _plain(getattr(thing, one.name), folder)
        for one in fields(thing)
        if one.init and getattr(thing, one.name) != _default(one)
    }


def _plain(value: Any, folder: Path | None) -> Any:
    if isinstance(value, Labels):
        return {label.name: _label(label) for label in value}
    if isinstance(value, Path):
        inside = folder is not None and value.is_absolute()
        return os.path.relpath(value, folder) if inside else str(value)
    if isinstance(value, Network):
        return {"name": _name(value), **_options(value, folder)}
    if isinstance(value, Step) and not isinstance(value, _SECTIONS):
        name, options = _name(value), _options(value, folder)
        options |= options.pop(getattr(value, "extra_options", None) or "", {})
        return {name: options} if options else name
    if is_dataclass(value):
        return _options(value, folder)
    if isinstance(value, Mapping):
        return {key: _plain(item, folder) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, folder) for item in value]
    return value


def step_name(step: Any) -> str | None:
    """What a step is called in its room's table; None for what is in none."""
    return rooms.names().get(type(step))


def _name(step: Any) -> str:
    if isinstance(step, Network) and rooms.table("models").get(step.name) is type(step):
        return step.name
    name = step_name(step)
    if name is None:
        raise ValueError(f"{type(step).__name__} is in no room's table, so it has no YAML name")
    return name


def _label(label: Label) -> Any:
    alone = len(label.values) == 1
    values = label.values[0] if alone else list(label.values)
    more = {"colour": label.colour, "code": label.code, "paint": label.paint}
    said = {key: one for key, one in more.items() if one is not None}
    if not said:
        return values
    return {"value" if alone else "values": values, **said}


def _yaml(said: Mapping[str, Any]) -> str:
    return "".join(f"{line}\n" for key, value in said.items() for line in _lines(key, value))


def _lines(key: str, value: Any) -> list[str]:
    """Long sections and lists of steps run down the page, everything else along the line."""
    line = f"{flow(key)}: {flow(value)}"
    nested = isinstance(value, dict) and any(isinstance(one, dict) for one in value.values())
    if nested or (value and isinstance(value, dict) and len(line) > _LONG):
        inner = [line for name, one in value.items() for line in _lines(name, one)]
        return [f"{flow(key)}:", *(f"  {line}" for line in inner)]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = [line for item in value for line in _item(item)]
        return [f"{flow(key)}:", *(f"  {line}" for line in items)]
    return [line]


def _item(item: Any) -> list[str]:
    if not isinstance(item, dict) or not item:
        return [f"- {flow(item)}"]
    inner = [line for name, one in item.items() for line in _lines(name, one)]
    return [f"- {inner[0]}", *(f"  {line}" for line in inner[1:])]


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{flow(key)}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e6:
            return str(int(value))
        # With its point, so that readers of older YAML see a number as well.
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    return str(value) if isinstance(value, int) else _text(value)


def _text(value: str) -> str:
    """Bare where every reader takes it for text, else in double quotes."""
    if _BARE.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    shown = (c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped)
    return f'"{"".join(shown)}"'
