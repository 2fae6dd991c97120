"""The model card: what a model is for, what it was trained on, how well it does, and its limits.

(Mitchell et al. 2019, doi:10.1145/3287560.3287596.) ``card.json`` is for programs, ``card.md``
says the same to a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from medseg.errors import MedsegError
from medseg.image import Study
from medseg.inference import Slices, SlidingWindow
from medseg.io import grid_of, write_atomically
from medseg.pipeline import Pipeline, load_pipeline, said_options
from medseg.run.records import versions

INTENDED_USE = "Research. Not a medical device; not for diagnosis or treatment."
_FEW = 20
Card = Mapping[str, Any]


def described(pipeline: Pipeline, step: SlidingWindow | Slices) -> dict[str, Any]:
    """What a card says of a pipeline before anything is trained."""
    return {
        "name": pipeline.name,
        "description": pipeline.description,
        "intended_use": INTENDED_USE,
        "labels": {
            label.name: list(label.values) if len(label.values) > 1 else label.values[0]
            for label in pipeline.labels
        },
        "channels": list(pipeline.input.channels),
        "network": step.model.name,
        "recipe": {
            "network": said_options(step.model),
            "window": list(step.window),
            "training": said_options(pipeline.training) if pipeline.training else {},
        },
        **_before(pipeline),
        "versions": dict(versions()),
    }


def _before(pipeline: Pipeline) -> dict[str, Any]:
    stages = first_stages(pipeline)
    return {"first_stages": stages} if stages else {}


def first_stages(pipeline: Pipeline) -> dict[str, list[str]]:
    """The pipelines that are asked before this one's network, and the studies each held out."""
    places = [one.pipeline for one in (pipeline.within, pipeline.previous) if one is not None]
    return {load_pipeline(place).name: sorted(held_out_by(place)) for place in places}


def held_out_by(model: Path) -> frozenset[str]:
    """The studies that a model folder's card says its network has not seen; none without one."""
    try:
        return frozenset(json.loads((model / "card.json").read_bytes()).get("held_out", ()))
    except (OSError, ValueError, TypeError, AttributeError):
        return frozenset()


def data_of(
    pipeline: Pipeline, studies: Sequence[Study], values: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """How many studies were learnt from, their sizes and spacings, and which labels they have.

    ``values`` are those of each study's mask. Sizes are those of headers alone.
    """
    grids = [grid for grid in map(_grid, studies, [pipeline] * len(studies)) if grid is not None]
    spacings, shapes = ([getattr(g, what) for g in grids] for what in ("spacing_mm", "shape"))
    shown = {
        label.name: sum(bool({*label.values} & {*values.get(s.name, ())}) for s in studies)
        for label in pipeline.labels
    }
    return {
        "studies": len(studies),
        "with_label": shown,
        "spacing_mm": _ranges(spacings, 3),
        "shape": _ranges(shapes, 0),
    }


def _grid(study: Study, pipeline: Pipeline) -> Any:
    try:
        grid = grid_of(study, pipeline.input)
    except MedsegError:
        return None
    return grid and grid.oriented("RAS")


def _ranges(rows: Sequence[Sequence[float]], digits: int) -> dict[str, list[float]]:
    """Least, median and most along each axis of RAS."""
    if not rows:
        return {}
    axes = list(zip(*rows, strict=True))
    measures = (("least", min), ("median", median), ("most", max))
    return {name: [round(float(of(axis)), digits) for axis in axes] for name, of in measures}


def limits_known(card: Card) -> Iterator[str]:
    """What should be known before the model is used, from what the card says."""
    data = card.get("data", {})
    yield (
        f"It has learnt from {data.get('studies', 0)} studies of one data set. Other scanners,"
        " protocols, ages and diseases are untried."
    )
    if spacing := data.get("spacing_mm"):
        low, high = min(spacing["least"]), max(spacing["most"])
        yield f"Voxels were {low:g} to {high:g} mm wide; scans outside of that are untried."
    few = [f"{n} ({c})" for n, c in data.get("with_label", {}).items() if c < _FEW]
    if few:
        yield f"Labels that few studies have: {', '.join(few)}."
    if "cross_validation" in card:
        yield (
            "Figures are of single networks on studies that these had not seen, of the same data"
            " set; the ensemble was not measured. Post-processing and temperature were chosen on"
            " these studies too, which flatters them a little."
        )
        yield from _flattered(card)
    elif card.get("validated_on"):
        yield (
            f"Figures are of {len(card['validated_on'])} held-out studies that were looked at"
            " during the training; measure the model on others before they are relied on."
        )
        yield from _flattered(card)
    else:
        yield "No study was held out: how well it does is not known."


def _flattered(card: Card) -> Iterator[str]:
    """What else of a model was chosen by the studies that its figures are of, or has seen them."""
    training = card.get("recipe", {}).get("training", {})
    for option, what in (("patience", "weights"), ("growth", "network")):
        if option in training:
            told = f"{option.capitalize()} kept the {what} that did best on some of these studies"
            yield f"{told}, which flatters the figures."
    # A card of all folds names those stages alone that know what a fold held out.
    held = card.get("held_out")
    for name, unseen in card.get("first_stages", {}).items():
        if held is None or not {*held} <= {*unseen}:
            yield (
                f"The first stage {name!r} may have learnt from these studies, which flatters the"
                " figures: it does better on them than on new scans."
            )


def write_card(folder: Path, card: Card) -> None:
    """Write card.json and card.md."""
    whole = {**card, "limits": list(limits_known(card))}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / "card.json", text.encode())
    write_atomically(folder / "card.md", ("\n".join(_page(whole)) + "\n").encode())


def _page(card: Card) -> Iterator[str]:
    yield f"# {card['name']}"
    if card.get("description"):
        yield from ("", str(card["description"]))
    yield from ("", str(card["intended_use"]), "", "## Data", "")
    yield from _data(card)
    yield from ("", "## Recipe", "", "```json")
    yield json.dumps(card["recipe"], indent=1, ensure_ascii=False)
    yield "```"
    yield from ("", "## Figures", "")
    yield from _figures(card)
    yield from ("", "## Limits", "")
    yield from (f"- {one}" for one in card["limits"])
    yield from ("", "## Made with", "")
    yield ", ".join(f"{name} {one}" for name, one in card["versions"].items())


def _data(card: Card) -> Iterator[str]:
    data = card.get("data", {})
    yield f"{data.get('studies', 0)} studies; channels: {', '.join(card['channels'])}."
    if spacing := data.get("spacing_mm"):
        yield from ("", "| | least | median | most |", "|---|---|---|---|")
        for title, said in (("spacing in mm", spacing), ("voxels", data["shape"])):
            cells = (" x ".join(f"{n:g}" for n in said[of]) for of in ("least", "median", "most"))
            yield f"| {title} | {' | '.join(cells)} |"
    yield from ("", "| label | value | studies with it |", "|---|---|---:|")
    for name, value in card["labels"].items():
        yield f"| {_cell(name)} | {value} | {data.get('with_label', {}).get(name, '')} |"


def _figures(card: Card) -> Iterator[str]:
    if "cross_validation" in card:
        yield from _pooled(card)
        return
    yield f"{card['iterations']} steps in {card['minutes']:g} minutes."
    if card["validation_dice"]:
        yield from ("", "| label | Dice |", "|---|---:|")
        for name, value in card["validation_dice"].items():
            yield f"| {_cell(name)} | {'' if value is None else f'{value:.4f}'} |"


def _pooled(card: Card) -> Iterator[str]:
    yield "Every study was held out once; means with 95 % intervals by bootstrap over patients."
    yield from ("", "| label | metric | mean | interval | studies |", "|---|---|---:|---|---:|")
    for name, metrics in card["cross_validation"].items():
        for metric, one in metrics.items():
            known = one["low"] is not None
            interval = f"{one['low']:.4f} to {one['high']:.4f}" if known else ""
            mean = f"{one['mean']:.4f}"
            yield f"| {_cell(name)} | {metric} | {mean} | {interval} | {one['n']} |"
    yield from ("", str(card["postprocess"]["why"]))
    sure = card["calibration"]
    yield from (
        "",
        f"Probabilities: temperature {sure['temperature']:g}; the negative log-likelihood of"
        f" held-out voxels is {sure['nll']:.5f} with it and {sure['nll_without']:.5f} without.",
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
