"""The planned network with its window, and what is done to its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.image import Labels
from medseg.run.fingerprint import Fingerprint
from medseg.run.sizing import Sized
from medseg.run.wishes import Chosen, Section, Wish


def inference_of(
    sized: Sized, flat: int | None, flat_why: str, mirrored: Sequence[int], wish: Wish
) -> list[tuple[str, Chosen]]:
    """The step that asks the network, in 3D or slice by slice across the axis ``flat``."""
    model, kind = sized.model, "sliding_window" if flat is None else "slices"
    strides = f"{len(model.widths)} stages: an axis is halved while it has 8 voxels or more"
    network: Section = {
        "name": Chosen("dynunet"),
        "spatial_dims": Chosen(model.spatial_dims, flat_why),
        "widths": Chosen(
            list(model.widths),
            f"{strides}. {model.widths[0]} features at first: about"
            f" {sized.steps} steps in {wish.budget.minutes:g} minutes"
            f" ({sized.gmacs:.1f} * 10^9 multiplications a patch).",
        ),
    }
    if model.strides is not None:
        told = "Coarse axes are not halved until the others are as coarse."
        network["strides"] = Chosen([list(s) for s in map(_tuple, model.strides)], told)
    if model.kernels is not None:
        told = "No kernel reaches across an axis that is still twice as coarse."
        network["kernels"] = Chosen([list(k) for k in map(_tuple, model.kernels)], told)
    norm = (
        f"A batch of {sized.batch} has statistics of its own."
        if model.norm == "batch"
        else f"A batch of {sized.batch} is too small for statistics of its own."
    )
    network["norm"] = Chosen(model.norm, norm)
    network["deep_supervision"] = Chosen(model.deep_supervision, "Coarse features learn as well.")
    options: Section = {"model": Chosen(network)}
    window = "The median scan, as far as memory and minutes reach, in multiples of the strides."
    options["window"] = Chosen(list(sized.window), window)
    if flat is not None:
        options["axes"] = Chosen([flat])
    options["overlap"] = Chosen(0.5)
    inner = [axis for axis in mirrored if flat is None or axis != flat]
    if inner:
        options["mirror"] = Chosen(inner, "Mirror images are averaged, on the axes trained with.")
    options["precision"] = Chosen("bfloat16", "As it is trained.")
    return [(kind, Chosen(options))]


def _tuple(entry: Any) -> tuple[int, ...]:
    return tuple(entry)


def postprocess_of(found: Fingerprint, labels: Labels) -> Chosen:
    """The largest piece alone, where references have one and no more."""
    single = [s for s in found.labels if s.studies and s.one_piece >= 0.95 * s.studies]
    if not single:
        return Chosen([], "No label is always one piece, so no piece is taken away.")
    least = min(round(100 * one.one_piece / one.studies) for one in single)
    told = (
        f"One piece in at least {least} % of the references that have the label. With --fold all"
        " what is held out has the last word."
    )
    names = None if len(single) == len(labels) else {"labels": [one.name for one in single]}
    return Chosen([("keep_largest", Chosen(names, told))])
