"""From a fingerprint and a budget to a pipeline, each choice with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

from medseg.image import Labels
from medseg.run.fingerprint import Channel, Fingerprint
from medseg.run.sizing import STEPS, Budget, Sized, Sizer

Modality = Literal["CT", "MR", "PET", "other"]
Stage = Literal["whole", "low"]
_THICK = 3.0
"""From this ratio of spacings on, slices are thick (Isensee et al. 2021)."""
_LARGE = 4.0
"""From this many windows a scan on, a first stage at low resolution is worth its while."""
_SIDES: Mapping[int, str] = {
    0: r"left|right|(^|[_ -])[lr]($|[_ -])",
    1: r"anterior|posterior|front|back|ventral|dorsal",
    2: r"superior|inferior|upper|lower|cranial|caudal|head|tail|top|bottom",
}


@dataclass(frozen=True)
class Wish:
    """What the user names: budget, modality, dimensions, the stage and the crop before it."""

    budget: Budget
    modality: Modality | None = None
    dims: Literal["auto", "2", "3"] = "auto"
    stage: Stage = "whole"
    within: Path | None = None
    margin_mm: float = 20.0


@dataclass(frozen=True)
class Chosen:
    """An option, its value, and why; a mapping of more of them where it is a section."""

    value: Any
    why: str = ""


Section = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The sections of a pipeline file in their order, and the sizes they were made with."""

    sections: Mapping[str, Chosen]
    sized: Sized
    notes: tuple[str, ...] = field(default=())


def planned(found: Fingerprint, labels: Labels, wish: Wish) -> Plan:
    """Spacing, window, network, batch, normalisation and augmentation by nnU-Net's reasoning.

    Isensee et al. 2021, doi:10.1038/s41592-020-01008-z; where its rules are for a GPU and a
    thousand epochs, the budget of memory and minutes decides instead.
    """
    spacing, spacing_why = _spacing(found, wish)
    shape = _shape(found, spacing, wish)
    flat, flat_why = _flat(spacing, shape, wish)
    sizer = Sizer(
        channels=len(found.channels),
        outputs=labels.channels,
        spacing=tuple(spacing[axis] for axis in range(3) if axis != flat),
        voxels=prod(shape) * found.studies,
        budget=wish.budget,
    )
    sized = sizer.sized([side for axis, side in enumerate(shape) if axis != flat])
    mirrored, mirror_why = _mirrored(labels)
    sections = {
        "preprocess": Chosen(_preprocess(found, spacing, spacing_why, wish)),
        "inference": Chosen(_inference(sized, flat, flat_why, mirrored, wish)),
        "postprocess": _postprocess(found, labels),
        "training": Chosen(_training(found, sized, spacing, flat, (mirrored, mirror_why), wish)),
    }
    return Plan(sections, sized, _notes(shape, sized, flat, wish))


def _spacing(found: Fingerprint, wish: Wish) -> tuple[tuple[float, ...], str]:
    """The median; along thick slices finer, and for a low stage coarser."""
    middle = list(found.spacing_mm)
    why = "The median spacing of all studies."
    thick = max(range(3), key=lambda axis: middle[axis])
    others = [middle[axis] for axis in range(3) if axis != thick]
    few = found.shape[thick] * _THICK < min(n for a, n in enumerate(found.shape) if a != thick)
    if middle[thick] >= _THICK * max(others) and few:
        tenth = sorted(one[thick] for one in found.spacings_mm)[found.studies // 10]
        middle[thick] = max(tenth, *others)
        why = "Medians; across the thick slices the 10th percentile, or thin ones would be lost."
    if wish.stage == "low":
        side = max(middle)
        while prod(found.shape) * prod(found.spacing_mm) / side**3 > 128**3:
            side *= 1.1
        middle = [max(one, side) for one in middle]
        why = "So coarse that a whole scan is about one window of 128 voxels a side."
    return tuple(round(one, 3) for one in middle), why


def _shape(found: Fingerprint, spacing: Sequence[float], wish: Wish) -> tuple[int, ...]:
    """The median scan in voxels of ``spacing``; of what is cropped to where there is a crop."""
    sides = [n * mm for n, mm in zip(found.shape, found.spacing_mm, strict=True)]
    if wish.within is not None and found.extents_mm:
        middle = [sorted(axis)[len(axis) // 2] for axis in zip(*found.extents_mm, strict=True)]
        sides = [min(s, m + 2 * wish.margin_mm) for s, m in zip(sides, middle, strict=True)]
    return tuple(max(1, round(s / mm)) for s, mm in zip(sides, spacing, strict=True))


def _flat(spacing: Sequence[float], shape: Sequence[int], wish: Wish) -> tuple[int | None, str]:
    """The axis across slices where the network is to see slices alone, and why."""
    thick = max(range(3), key=lambda axis: (spacing[axis], -shape[axis]))
    if wish.dims == "2":
        return thick, "In 2D, as was asked for; across the axis with the coarsest spacing."
    if wish.dims == "auto" and shape[thick] < 8:
        return thick, f"In 2D: a scan has {shape[thick]} slices, too few to be seen in depth."
    return None, "In 3D: there are slices enough to be seen in depth."


def _mirrored(labels: Labels) -> tuple[tuple[int, ...], str]:
    """Axes along which a mirror image is as good, by what the labels are called."""
    words = {
        axis: sorted(n for n in labels.names if re.search(pattern, n.lower()))
        for axis, pattern in _SIDES.items()
    }
    if words[0]:
        told = f"No mirroring: '{words[0][0]}' would be called by the other side's name."
        return (), f"{told} rand_flip with 'swap' would exchange such pairs."
    if len(labels) > 1 and all(re.fullmatch(r"label_\d+", name) for name in labels.names):
        return (), "No mirroring: labels without names may be of a left and a right."
    if len(labels) == 1:
        return (0, 1, 2), "One structure without sides: every mirror image is as good."
    named = words[1] or words[2]
    more = f" '{named[0]}' is not to be turned about." if named else ""
    return (0,), f"Left and right look alike; other axes have an order in the body.{more}"


def _preprocess(
    found: Fingerprint, spacing: Sequence[float], why: str, wish: Wish
) -> list[tuple[str, Chosen]]:
    steps = [
        ("orientation", Chosen({"axcodes": "RAS"}, "Axes the same way round in every scan.")),
        ("spacing", Chosen({"pixdim": list(spacing)}, why)),
    ]
    for place, channel in enumerate(found.channels):
        only = {"channels": [place]} if len(found.channels) > 1 else {}
        kind, said = modality_of(found, place, wish.modality)
        steps += _normalised(channel, kind, said, found.zeros, only)
    return steps


def modality_of(found: Fingerprint, place: int, named: Modality | None) -> tuple[Modality, str]:
    """What a channel is, and how that is known."""
    channel = found.channels[place]
    if named is not None:
        return named, f"{named}, as was said"
    name = channel.name.upper()
    by_name: tuple[tuple[Modality, str], ...] = (
        ("CT", r"CT|CBCT"),
        ("PET", r"PET|PT|SUV"),
        ("MR", r"MRI?|T1\w*|T2\w*|FLAIR|DWI|ADC|PD"),
    )
    for kind, pattern in by_name:
        if re.fullmatch(rf"(.*[_ -])?({pattern})([_ -].*)?", name):
            return kind, f"{kind} by the channel's name"
    if place == 0 and found.lowest <= -900:
        return "CT", f"taken for CT: scans begin at {found.lowest:g}, as HU of air do"
    return "other", "no modality is known, so"


def _normalised(
    channel: Channel, kind: Modality, said: str, zeros: float, only: Mapping[str, Any]
) -> list[tuple[str, Chosen]]:
    low, high = (round(channel.percentiles[share], 4) for share in ("0.5", "99.5"))
    if kind == "CT" and low < high and channel.deviation > 0:
        cut = f"{said}: the 0.5 and 99.5 percentiles inside the labels."
        numbers = {
            "subtrahend": round(channel.mean, 4),
            "divisor": round(channel.deviation, 4),
        }
        told = "HU mean the same everywhere, so one mean and deviation serve all scans."
        return [
            ("clip", Chosen({"minimum": low, "maximum": high, **only}, _capital(cut))),
            ("normalize_intensity", Chosen({**numbers, **only}, told)),
        ]
    steps = []
    if kind == "PET" and high > 0:
        cut = f"{said}: uptake from 0 to the 99.5 percentile inside the labels; hotter is as hot."
        steps.append(("clip", Chosen({"minimum": 0, "maximum": high, **only}, _capital(cut))))
        said = "after that"
    sparse: dict[str, Any] = {"nonzero": True} if zeros > 0.25 and kind != "PET" else {}
    told = f"{said}: each scan by its own mean and deviation, as units are arbitrary."
    if sparse:
        told += f" {zeros:.0%} of the voxels are 0 and left out."
    return [*steps, ("normalize_intensity", Chosen({**sparse, **only} or None, _capital(told)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _inference(
    sized: Sized, flat: int | None, flat_why: str, mirrored: Sequence[int], wish: Wish
) -> list[tuple[str, Chosen]]:
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


def _postprocess(found: Fingerprint, labels: Labels) -> Chosen:
    """The largest piece alone, where references have one and no more."""
    single = [s for s in found.labels if s.studies and s.one_piece >= 0.95 * s.studies]
    if not single:
        return Chosen([], "No label is always one piece, so no piece is taken away.")
    least = min(round(100 * one.one_piece / one.studies) for one in single)
    told = f"One piece in at least {least} % of the references that have the label."
    names = None if len(single) == len(labels) else {"labels": [one.name for one in single]}
    return Chosen([("keep_largest", Chosen(names, told))])


def _training(
    found: Fingerprint,
    sized: Sized,
    spacing: Sequence[float],
    flat: int | None,
    mirrored: tuple[Sequence[int], str],
    wish: Wish,
) -> Section:
    rate = 2e-3 if sized.model.norm == "batch" else 1e-3
    small = min((one.share_of_voxels for one in found.labels if one.studies), default=0)
    share = 0.33 if small > 0.01 else 0.67
    few = wish.budget.memory_gib < sized.memory_gib or sized.steps < STEPS
    warned = " Less would not do, and this is hardly enough: give it more." if few else ""
    said: Section = {
        "max_minutes": Chosen(wish.budget.minutes, "The budget that was named."),
        "patch": Chosen(list(sized.window), "What the network sees later."),
        "batch": Chosen(
            sized.batch,
            f"About {sized.memory_gib:.1f} of {wish.budget.memory_gib:.1f} GiB;"
            f" {STEPS} steps come first, then patches a step.{warned}",
        ),
        "learning_rate": Chosen(rate, "AdamW; half as much for small batches."),
        "foreground": Chosen(
            share, f"The rarest label is {small:.2%} of the voxels; this share of patches has one."
        ),
    }
    said["augmentation"] = Chosen(_augmentation(found, spacing, flat, mirrored, wish))
    if found.studies < 10:
        told = f"{found.studies} studies."
        said["fold_count"] = Chosen(max(2, min(5, found.studies)), told)
    return said


def _augmentation(
    found: Fingerprint,
    spacing: Sequence[float],
    flat: int | None,
    mirrored: tuple[Sequence[int], str],
    wish: Wish,
) -> list[tuple[str, Chosen]]:
    thick = max(range(3), key=lambda axis: spacing[axis])
    ratio = spacing[thick] / min(spacing)
    turns: Any = 15
    why = "Patients lie a little askew and are of different sizes."
    if flat is None and ratio >= _THICK:
        turns = [15 if axis == thick else 0 for axis in range(3)]
        why = f"Turned within slices only: they are {ratio:.1f} times as thick as their voxels."
    steps = [
        (
            "rand_affine",
            Chosen({"prob": 0.5, "rotate_degrees": turns, "scale_range": [0.85, 1.18]}, why),
        )
    ]
    axes = [a if flat is None or a < flat else a - 1 for a in mirrored[0] if a != flat]
    if axes:
        steps.append(("rand_flip", Chosen({"prob": 0.5, "axes": axes}, mirrored[1])))
    scanners = "Scanners differ in brightness, contrast, noise and sharpness."
    steps.append(("rand_scale_intensity", Chosen({"prob": 0.2}, scanners)))
    steps += [
        ("rand_adjust_contrast", Chosen({"prob": 0.2})),
        ("rand_gaussian_noise", Chosen({"prob": 0.15})),
        ("rand_gaussian_smooth", Chosen({"prob": 0.1})),
        ("rand_low_resolution", Chosen({"prob": 0.1})),
    ]
    if modality_of(found, 0, wish.modality)[0] == "MR":
        steps.append(("rand_bias_field", Chosen({"prob": 0.15}, "Coils of MR shade an image.")))
    if not axes:
        name, last = steps[0]
        steps[0] = (name, Chosen(last.value, f"{last.why} {mirrored[1]}"))
    return steps


def _notes(shape: Sequence[int], sized: Sized, flat: int | None, wish: Wish) -> tuple[str, ...]:
    seen = prod(sized.window) * (1 if flat is None else shape[flat])
    if wish.stage == "low" or wish.within is not None or prod(shape) < _LARGE * seen:
        return ()
    windows = prod(shape) / seen
    return (
        f"A median scan is {windows:.0f} windows. A first stage at low resolution finds where to"
        " look: plan it with --stage low, train it, then plan again with --within its folder.",
    )
