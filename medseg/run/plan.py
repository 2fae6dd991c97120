"""``medseg plan``: a data set to a pipeline file that a person could have written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

from medseg.errors import InputError
from medseg.image import Label, Labels
from medseg.io.layouts_sets import DESCRIPTION, described_in
from medseg.pipeline import load_pipeline
from medseg.pipeline.dumping import flow
from medseg.run.audit import Audit, Where, audit
from medseg.run.events import Watch, unheard
from medseg.run.examination import labels_of_values
from medseg.run.fingerprint import Fingerprint, fingerprint
from medseg.run.planning import Plan, planned
from medseg.run.wishes import Chosen, Wish

_WIDTH = 96
_MOST_LABELS = 256


@dataclass(frozen=True)
class PlanSummary:
    """The pipeline's text, the fingerprint it goes by, and what the audit found."""

    text: str
    fingerprint: Fingerprint
    audit: Audit
    plan: Plan


def plan(
    where: Where, name: str, wish: Wish, labels: Labels | None = None, watch: Watch = unheard
) -> PlanSummary:
    """Audit a data set, take its fingerprint, and plan a pipeline for it.

    Labels are those given, those that a dataset.json beside the data names, or every value in
    the masks. Raises InputError where there is nothing sound to plan from, PipelineError where
    ``wish.within`` is no pipeline.
    """
    if wish.within is not None:
        load_pipeline(wish.within)
    described = _description(where.path)
    labels = labels or _labels_of(described)
    channels = where.channels
    if channels == ("image",):
        channels = _channels_of(described) or channels
        where = replace(where, channels=channels)
    found = audit(where, labels, whole=True, watch=watch)
    if not found.seen:
        told = f"none of the {len(found.found.studies)} studies is fit to be planned from"
        raise InputError("E_NO_INPUT", told, where.path)
    if labels is None:
        found, labels = _by_values(found, where.path)
    mark = fingerprint(found.seen, labels, channels)
    made = planned(mark, labels, wish)
    return PlanSummary(_text(name, where, labels, wish, (mark, found, made)), mark, found, made)


def _description(path: Path) -> Mapping[str, Any]:
    for file in (path, path / DESCRIPTION, path.parent / DESCRIPTION):
        if file.name == DESCRIPTION and file.is_file():
            return described_in(file)
    return {}


def _labels_of(said: Mapping[str, Any]) -> Labels | None:
    """The table of a dataset.json: the Decathlon's {value: name} or nnU-Net's {name: values}."""
    listed = said.get("labels")
    if not isinstance(listed, dict):
        return None
    by_name: dict[str, tuple[int, ...]] = {}
    for key, said_of in listed.items():
        turned = str(key).isdecimal() and isinstance(said_of, str)
        name, value = (said_of, int(key)) if turned else (key, said_of)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, int | str) and str(one).isdecimal() for one in values):
            return None
        by_name[str(name).strip()] = tuple(int(one) for one in values)
    ignore = by_name.pop("ignore", (None,))[0]
    kept = tuple(Label(name, v) for name, v in by_name.items() if v != (0,))
    return Labels(kept, ignore) if kept else None


def _channels_of(said: Mapping[str, Any]) -> tuple[str, ...] | None:
    listed = said.get("channel_names") or said.get("modality")
    if not isinstance(listed, dict) or not listed:
        return None
    names = tuple(str(listed[key]) for key in sorted(listed, key=str))
    return names if len(set(names)) == len(names) and all(names) else None


def _by_values(found: Audit, path: Path) -> tuple[Audit, Labels]:
    values = sorted({value for one in found.seen for value in one.voxels})
    if not values or len(values) > _MOST_LABELS:
        told = f"the masks hold {len(values)} values besides 0; name the labels with --labels"
        raise InputError("E_LABEL_VALUES", told, path)
    return found, labels_of_values(values)


def _text(
    name: str,
    where: Where,
    labels: Labels,
    wish: Wish,
    made: tuple[Fingerprint, Audit, Plan],
) -> str:
    mark, found, chosen = made
    lines = list(_comment(f"Planned from {mark.studies} studies of {where.path.name}.", 0))
    for fault in found.faults:
        lines += _comment(f"Left out: {fault.study}: {fault.kind}.", 0)
    for note in chosen.notes:
        lines += _comment(note, 0)
    lines += [f"name: {flow(name)}", f"description: {flow(f'Planned for {where.path.name}')}", ""]
    lines += ["labels:", *(f"  {flow(one.name)}: {flow(_values(one))}" for one in labels)]
    if labels.ignore is not None:
        lines.append(f"ignore: {labels.ignore}")
    lines += ["", "input:", f"  path: {flow(str(where.path.resolve()))}"]
    if where.reference is not None:
        lines.append(f"  reference: {flow(str(where.reference.absolute()))}")
    lines.append(f"  channels: {flow(list(where.channels))}")
    if where.options.align != "refuse":
        lines.append(f"  align: {where.options.align}")
    if wish.within is not None:
        lines += ["", *_comment("Where the first stage found something.", 0), "within:"]
        lines += [f"  pipeline: {flow(str(wish.within.resolve()))}"]
        lines += [f"  margin_mm: {flow(wish.margin_mm)}"]
    for key, one in chosen.sections.items():
        lines += ["", *_entry(key, one, 0)]
        if key == "postprocess":
            lines += ["", "metrics: [dice, iou]"]
    return "\n".join(lines) + "\n"


def _values(label: Label) -> Any:
    return label.values[0] if len(label.values) == 1 else {"values": list(label.values)}


def _comment(text: str, indent: int) -> Iterator[str]:
    for line in wrap(text, _WIDTH - indent - 2, break_long_words=False):
        yield f"{' ' * indent}# {line}"


def _entry(key: str, chosen: Chosen, indent: int) -> Iterator[str]:
    """An option with its comment above it."""
    space = " " * indent
    yield from _comment(chosen.why, indent)
    value = chosen.value
    if isinstance(value, dict) and any(isinstance(one, Chosen) for one in value.values()):
        yield f"{space}{key}:"
        for name, one in value.items():
            yield from _entry(name, one, indent + 2)
    elif isinstance(value, list) and value and isinstance(value[0], tuple):
        yield f"{space}{key}:"
        for name, one in value:
            yield from _step(name, one, indent + 2)
    else:
        yield f"{space}{key}: {flow(value)}"


def _step(name: str, chosen: Chosen, indent: int) -> Iterator[str]:
    space = " " * indent
    yield from _comment(chosen.why, indent)
    value = chosen.value
    if value is None:
        yield f"{space}- {name}"
    elif any(isinstance(one, Chosen) for one in value.values()):
        yield f"{space}- {name}:"
        for key, one in value.items():
            yield from _entry(key, one, indent + 4)
    else:
        yield f"{space}- {name}: {flow(value)}"
