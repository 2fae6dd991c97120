"""What is tried when a network's numbers overflow, or a GPU's memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from medseg.errors import Caution, StudyError
from medseg.image import LabelMap, Labels, Volume
from medseg.inference.limits import GIB, Limits, Need, Placement, placed

if TYPE_CHECKING:
    from torch import Tensor

    from medseg.inference.asked import Asked

Order = tuple[int, int, int]
Made = TypeVar("Made")
Cautions = tuple[Caution, ...]
ENOUGH = 0.995
"""The Dice with float32 from which on a lower precision is as good."""
_VERDICTS: dict[Any, Literal["float32", "bfloat16"]] = {}


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked: about a volume, its axes walked along in an order, within a limits."""

    volume: Volume
    labels: Labels
    order: Order
    limits: Limits


class OverflowedError(ArithmeticError):
    """The network's numbers left what its precision can hold."""


def tried(
    step: Asked, asked: Question, take: Callable[[Iterator[Tensor]], Made]
) -> tuple[Made, Cautions]:
    """What ``take`` makes of the step's rows, and what had to be done for it.

    Where a lower precision overflows it is tried once more in float32; where the GPU's memory
    runs out, with less of it. Raises StudyError E_NONFINITE_OUTPUT or E_GPU_MEMORY at the end.
    """
    if step.precision == "auto":
        return _compared(step, asked, take)
    try:
        return _descended(step, asked, take)
    except OverflowedError:
        pass
    if step.precision != "float32":
        told = f"{step.precision} overflowed; the study was done in float32"
        try:
            made, cautions = _descended(replace(step, precision="float32"), asked, take)
            return made, (Caution("W_FALLBACK", told), *cautions)
        except OverflowedError:
            pass
    raise StudyError("E_NONFINITE_OUTPUT", "the network's logits are not finite numbers")


def _compared(
    step: Asked, asked: Question, take: Callable[[Iterator[Tensor]], Made]
) -> tuple[Made, Cautions]:
    """In the precision that the first study decided on; here and now, if this is the first."""
    key = (step, asked.labels.names, step.stamped())
    if (known := _VERDICTS.get(key)) is not None:
        return tried(replace(step, precision=known), asked, take)
    full, cautions = tried(replace(step, precision="float32"), asked, take)
    low, _ = tried(replace(step, precision="bfloat16"), asked, take)
    agreed, told = agreement(_mask_of(full), _mask_of(low))
    verdict = _VERDICTS[key] = "bfloat16" if agreed >= ENOUGH else "float32"
    found = f"bfloat16 against float32 on this study: Dice {told}; {verdict} is taken"
    return (low if agreed >= ENOUGH else full), (*cautions, Caution("W_PRECISION", found))


def _mask_of(made: Any) -> LabelMap:
    return made if isinstance(made, LabelMap) else made.decided_on(made.grid)


def agreement(one: LabelMap, other: LabelMap) -> tuple[float, str]:
    """The lowest Dice of a label between two masks, 1 where both lack it; and all, in words."""
    found = {}
    for name in one.labels.names:
        here, there = one.where(name), other.where(name)
        total = int(here.sum()) + int(there.sum())
        found[name] = 2 * int((here & there).sum()) / total if total else 1.0
    told = ", ".join(f"{name} {dice:.4f}" for name, dice in found.items())
    return min(found.values()), told


def _descended(
    step: Asked, asked: Question, take: Callable[[Iterator[Tensor]], Made]
) -> tuple[Made, Cautions]:
    """What is made of the rows, with less of the GPU's memory each time it runs out."""
    import torch

    place = _begun(step, asked)
    cautions: Cautions = step.left_out(asked.volume.channels, asked.labels, place.compute)
    while True:
        try:
            return take(step.rows(asked, place)), cautions
        except torch.OutOfMemoryError:
            lower = place.smaller(asked.limits.allow_cpu)
        # Another order of adding up gives other last bits.
        if lower is None or torch.are_deterministic_algorithms_enabled():
            told = f"the network needs more memory than the GPU has, with {place.words}"
            raise StudyError(
                "E_GPU_MEMORY", f"{told}; lower 'batch' or 'window', or set limits.allow_cpu"
            )
        # By now nothing refers to what was begun.
        if place.compute.type == "cuda":
            torch.cuda.empty_cache()
        told = f"the GPU's memory ran out with {place.words}; done with {lower.words}"
        place, cautions = lower, (*cautions, Caution("W_FALLBACK", told))


def _begun(step: Asked, asked: Question) -> Placement:
    """Where the work begins: as much of it on the device as its limits is seen to take."""
    device = step.computes_on()
    need = Need(0, 0, 0)
    if device.type == "cuda":
        need = step.need(asked.volume.channels, asked.volume.grid, asked.labels, asked.order)
    place = placed(device, step.batch, need, asked.limits)
    if place is None:
        raise StudyError(
            "E_GPU_MEMORY",
            f"one window needs about {need.window / GIB:.1f} GiB of the GPU, more than it has free"
            " or limits.vram_gib allows; use a smaller window, or set limits.allow_cpu",
        )
    return place
