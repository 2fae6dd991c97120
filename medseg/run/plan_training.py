"""How a planned network is trained: budget, batch, sampling and augmentation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from medseg.image import Labels
from medseg.run.fingerprint import Fingerprint
from medseg.run.plan_grid import shape_of
from medseg.run.plan_preprocess import modality_of
from medseg.run.sizing import STEPS, Sized
from medseg.run.wishes import THICK, Chosen, Section, Wish

_SIDES: Mapping[int, str] = {
    0: r"left|right|(^|[_ -])[lr]($|[_ -])",
    1: r"anterior|posterior|front|back|ventral|dorsal",
    2: r"superior|inferior|upper|lower|cranial|caudal|head|tail|top|bottom",
}
_KEPT = 0.25
"""The share of the budget's memory that preprocessed studies may take."""


def mirrored_of(labels: Labels) -> tuple[tuple[int, ...], str]:
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


def training_of(
    found: Fingerprint,
    sized: Sized,
    spacing: Sequence[float],
    flat: int | None,
    mirrored: tuple[Sequence[int], str],
    wish: Wish,
) -> Section:
    """The options of ``training:``, those that follow from data and budget."""
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
    said |= _cache(found, spacing, wish)
    said["augmentation"] = Chosen(_augmentation(found, spacing, flat, mirrored, wish))
    if found.studies < 10:
        told = f"{found.studies} studies."
        said["fold_count"] = Chosen(max(2, min(5, found.studies)), told)
    return said


def _cache(found: Fingerprint, spacing: Sequence[float], wish: Wish) -> Section:
    """Files for preprocessed studies, where they are too many for memory."""
    bytes_each = prod(shape_of(found, spacing, wish)) * (4 * len(found.channels) + 1)
    asked_gib = found.studies * bytes_each / 2**30
    if asked_gib <= _KEPT * wish.budget.memory_gib:
        return {}
    told = (
        f"{found.studies} preprocessed studies are about {asked_gib:.1f} GiB, too much for memory;"
        " 'compressed' takes less of the disk and more time."
    )
    return {"cache": Chosen("disk", told)}


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
    if flat is None and ratio >= THICK:
        turns = [15 if axis == thick else 0 for axis in range(3)]
        why = f"Turned within slices only: they are {ratio:.1f} times as thick as their voxels."
    steps = [
        (
            "rand_affine",
            Chosen({"prob": 0.5, "rotate_degrees": turns, "scale_range": [0.85, 1.18]}, why),
        )
    ]
    axes = [axis for axis in mirrored[0] if axis != flat]
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
