"""What only the whole of a file shows: whether its parts fit each other."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from medseg.image import Grid, LabelMap, Labels
from medseg.inference import Slices, Threshold
from medseg.inference.rule import Decision
from medseg.pipeline.builder import BROKEN, Builder, hints_of
from medseg.pipeline.source import Items, Table, plain
from medseg.postprocess.relabel import Relabel
from medseg.training import Augmentation
from medseg.training.sides import sided_pairs
from medseg.training.spatial import RandFlip


def check_whole(builder: Builder, root: Table) -> None:
    """Complain of parts that are each right and do not fit together."""
    _one_label(builder)
    _one_decision(builder)
    _one_network(builder, root)
    _relabelled(builder)
    _exchanged(builder)
    _mirrored(builder)


def _one_label(builder: Builder) -> None:
    names = builder.label_names
    if names is None or len(names) == 1:
        return
    for at, step in builder.built.items():
        if isinstance(step, Threshold) and at.startswith("inference."):
            message = f"'threshold' decides one label, and the pipeline has {len(names)}"
            builder.complain(builder.places[at], at, message)


def _one_decision(builder: Builder) -> None:
    """Scores that are averaged become a mask by one rule, and what refines them is probable."""
    steps = {
        at: getattr(step, "decision", Decision())
        for at, step in builder.built.items()
        if re.fullmatch(r"inference\.\d+", at) and step is not BROKEN
    }
    rules = list(steps.values())
    for at, rule in steps.items():
        if rule != rules[0]:
            message = "'decision' is the same for all steps whose scores are averaged"
            builder.complain(builder.places[at], at, message)
        if rule.scores == "logits" and "refine.0" in builder.places:
            message = "'refine' works on probabilities, and the decision here is of logits"
            builder.complain(builder.places["refine.0"], "refine", message)


def _one_network(builder: Builder, root: Table) -> None:
    """Training fills one network; it is counted in the text, whatever else is wrong there."""
    entries = root.entries
    if plain_of(root, "training") is None or "inference" not in entries:
        return
    steps = entries["inference"].value
    if not isinstance(steps, Items):
        return
    classes = [builder.tables("inference").get(_name(plain(item))) for item in steps.items]
    networks = [place for place, cls in enumerate(classes) if cls and "model" in hints_of(cls)]
    if len(networks) == 1:
        _same_dimensions(builder, f"inference.{networks[0]}")
    elif None not in classes:
        message = f"trains one network, and 'inference' has {len(networks)}"
        builder.complain(entries["training"].key, "training", message)


def _same_dimensions(builder: Builder, step: str) -> None:
    patch, model = builder.built.get("training.patch"), builder.built.get(f"{step}.model")
    if patch in (None, BROKEN) or model in (None, BROKEN) or len(patch) == model.spatial_dims:
        return
    message = f"patch has {len(patch)} sides, and the network {model.spatial_dims} dimensions"
    builder.complain(builder.places["training.patch"], "training.patch", message)


def _relabelled(builder: Builder) -> None:
    """Other values for labels must leave a table that means something."""
    labels, place = builder.built.get("labels"), 0
    while isinstance(labels, Labels) and (at := f"postprocess.{place}") in builder.places:
        step = builder.built.get(at)
        if isinstance(step, Relabel):
            grid = Grid(np.eye(4), (1, 1, 1))
            try:
                labels = step(LabelMap(np.zeros(grid.shape, np.uint8), grid, labels)).labels
            except ValueError as error:
                builder.complain(builder.places[at], at, str(error))
                return
        place += 1


def _exchanged(builder: Builder) -> None:
    """Labels that a mirror image exchanges have one value each."""
    labels = builder.built.get("labels")
    for at, step in list(builder.built.items()):
        if isinstance(step, Augmentation) and isinstance(labels, Labels):
            try:
                step.of(labels)
            except (ValueError, KeyError) as error:
                builder.complain(builder.places[at], at, str(error))


def _mirrored(builder: Builder) -> None:
    """What is trained here is asked about mirror images only where it has seen such ones.

    Never about those that exchange its labels.
    """
    labels = builder.built.get("labels")
    if not isinstance(labels, Labels) or "training" not in builder.places:
        return
    pairs = sided_pairs(labels.names)
    steps = [builder.built.get(at) for at in builder.built if re.fullmatch(r"inference\.\d+", at)]
    if any(isinstance(step, Slices) and 0 in step.axes for step in steps):
        for at, step in list(builder.built.items()):
            if isinstance(step, RandFlip) and step.swap:
                told = "swap: slices across axis 0 show no left and right, and are trained on too"
                builder.complain(builder.places[at], at, told)
    flips = [step for step in builder.built.values() if isinstance(step, RandFlip) and step.prob]
    known = {axis for flip in flips for axis in flip.axes}
    for at, axes in list(builder.built.items()):
        if not re.fullmatch(r"inference\.\d+\.mirror", at):
            continue
        if pairs and 0 in (axes or ()):
            one, other = pairs[0]
            message = f"mirror: along axis 0 {one!r} looks as {other!r} does; leave 0 out"
            builder.complain(builder.places[at], at, message)
        elif strange := sorted(set(axes or ()) - known):
            message = (
                f"mirror: no rand_flip of 'training' mirrors axis {strange[0]}, so the network"
                " would be asked about what it has never seen; add it there, or leave it out here"
            )
            builder.complain(builder.places[at], at, message)


def _name(item: Any) -> str:
    return str(next(iter(item), "")) if isinstance(item, dict) else str(item)


def plain_of(root: Table, key: str) -> Any:
    """What a key says, or None where it is not there."""
    return plain(root.entries[key].value) if key in root.entries else None


def check_within(builder: Builder, inner: Labels) -> None:
    """The labels to crop by are those of the inner pipeline."""
    named = builder.built.get("within.labels")
    if isinstance(named, tuple):
        outer, builder.label_names = builder.label_names, inner.names
        builder.labels_known(named, builder.places["within.labels"], "within.labels")
        builder.label_names = outer
