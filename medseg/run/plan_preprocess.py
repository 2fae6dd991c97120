"""Steps before a planned network: axes, spacing, and intensities by what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.run.fingerprint import Channel, Fingerprint
from medseg.run.wishes import Chosen, Modality, Wish


def preprocess_of(
    found: Fingerprint, spacing: Sequence[float], why: str, wish: Wish
) -> list[tuple[str, Chosen]]:
    """The steps in their order, each with its reason."""
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
