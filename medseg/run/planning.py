"""From a fingerprint and a budget to a pipeline, each choice with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from medseg.image import Labels
from medseg.run.fingerprint import Fingerprint
from medseg.run.plan_grid import flat_of, shape_of, spacing_of
from medseg.run.plan_network import inference_of, postprocess_of
from medseg.run.plan_preprocess import preprocess_of
from medseg.run.plan_training import mirrored_of, training_of
from medseg.run.sizing import Sized, Sizer
from medseg.run.wishes import Chosen, Wish

_LARGE = 4.0
"""From this many windows a scan on, a first stage at low resolution is worth its while."""


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
    spacing, spacing_why = spacing_of(found, wish)
    shape = shape_of(found, spacing, wish)
    flat, flat_why = flat_of(spacing, shape, wish)
    sizer = Sizer(
        channels=len(found.channels),
        outputs=labels.channels,
        spacing=tuple(spacing[axis] for axis in range(3) if axis != flat),
        voxels=prod(shape) * found.studies,
        budget=wish.budget,
    )
    sized = sizer.sized([side for axis, side in enumerate(shape) if axis != flat])
    mirrored, mirror_why = mirrored_of(labels)
    sections = {
        "preprocess": Chosen(preprocess_of(found, spacing, spacing_why, wish)),
        "inference": Chosen(inference_of(sized, flat, flat_why, mirrored, wish)),
        "postprocess": postprocess_of(found, labels),
        "training": Chosen(training_of(found, sized, spacing, flat, (mirrored, mirror_why), wish)),
    }
    return Plan(sections, sized, _notes(shape, sized, flat, wish))


def _notes(shape: Sequence[int], sized: Sized, flat: int | None, wish: Wish) -> tuple[str, ...]:
    seen = prod(sized.window) * (1 if flat is None else shape[flat])
    if wish.stage == "low" or wish.within is not None or prod(shape) < _LARGE * seen:
        return ()
    windows = prod(shape) / seen
    return (
        f"A median scan is {windows:.0f} windows. A first stage at low resolution finds where to"
        " look: plan it with --stage low, train it, then plan again with --within its folder.",
    )
