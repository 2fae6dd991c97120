"""Slices as SVG: grey pixels within, outlines of masks above them, letters at the edges."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap
from medseg.run.report.material import Material
from medseg.run.report.slices import LETTERS, Shown, Window, turned

REFERENCE = "#4cc9f0"
PREDICTIONS = ("#ffb000", "#ff5fa2", "#b8e986", "#c8a2ff", "#f2efe6", "#ff7043")
"""Colours that differ for colour-blind readers too, on grey."""
_THUMB = 120


def png(grey: NDArray[np.uint8]) -> bytes:
    """A grey picture (rows, columns) as PNG."""
    rows, columns = grey.shape
    lines = np.zeros((rows, columns + 1), np.uint8)
    lines[:, 1:] = grey
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    told = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + told


def data_url(kind: str, content: bytes) -> str:
    """Bytes as a URL that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def outline(where: NDArray[np.bool_], across_mm: float, down_mm: float) -> str:
    """The outline of a mask (rows, columns) as an SVG path in mm from the upper left corner."""
    from skimage.measure import find_contours

    if not where.any():
        return ""
    padded = np.pad(where.astype(np.float32), 1)
    told = []
    for line in find_contours(padded, 0.5):
        x, y = (line[:, 1] - 0.5) * across_mm, (line[:, 0] - 0.5) * down_mm
        points = "L".join(f"{a:.4g} {b:.4g}" for a, b in zip(x, y, strict=True))
        told.append(f"M{points}")
    return "".join(told)


def colours(names: Sequence[str]) -> Mapping[str, str]:
    """A colour for each run, in their order."""
    return {name: PREDICTIONS[place % len(PREDICTIONS)] for place, name in enumerate(names)}


def drawn(
    material: Material, shown: Shown, frame: Sequence[slice], window: Window | None
) -> dict[str, Any]:
    """A slice as the templates draw it: sizes in mm, the picture's URL, paths with colours."""
    spacing = material.grid.spacing_mm
    any_mask = next(iter(material.masks.values()))
    part, across, down = turned(any_mask.data, shown, frame, spacing)
    url = ""
    if material.scan is not None and window is not None:
        image, _, _ = turned(material.scan, shown, frame, spacing)
        url = data_url("image/png", png(window.applied(image)))
    return {
        "width": round(part.shape[1] * across, 3),
        "height": round(part.shape[0] * down, 3),
        "url": url,
        "paths": _paths(material, shown, frame),
        "letters": LETTERS[shown.plane],
        "plane": shown.plane,
        "why": shown.why,
        "index": shown.index + 1,
        "of": shown.of,
        "differing": shown.differing,
    }


def _paths(material: Material, shown: Shown, frame: Sequence[slice]) -> list[dict[str, str]]:
    """The outlines of the reference, then of each run, where the slice has any."""
    shown_masks = material.outlined
    named = colours(list(shown_masks))
    masks = [("reference", REFERENCE, material.reference)] if material.reference else []
    masks += [
        (f"run{place}", named[name], mask) for place, (name, mask) in enumerate(shown_masks.items())
    ]
    told = []
    for kind, colour, mask in masks:
        part, across, down = turned(mask.data, shown, frame, material.grid.spacing_mm)
        path = "".join(_outlines(part, mask, across, down))
        if path:
            told.append({"kind": kind, "colour": colour, "d": path})
    return told


def _outlines(part: NDArray[Any], mask: LabelMap, across: float, down: float) -> list[str]:
    return [outline(np.isin(part, label.values), across, down) for label in mask.labels]


def thumbnail(
    material: Material, slices: Sequence[Shown], frame: Sequence[slice], window: Window | None
) -> dict[str, Any]:
    """The first axial slice, small."""
    first = next(one for one in slices if one.plane == "axial")
    told = drawn(material, first, frame, window)
    if material.scan is not None and window is not None:
        part, _, _ = turned(material.scan, first, frame, material.grid.spacing_mm)
        step = max(1, -(-max(part.shape) // _THUMB))
        told["url"] = data_url("image/png", png(window.applied(part[::step, ::step])))
    return told
