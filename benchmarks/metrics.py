"""The metrics of 14 labels on 512 x 512 x 300 voxels, beside MONAI and surface-distance.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --labels 104 --only medseg

One process, one pair of masks, one tool after the other; seconds are of the clock and, in brackets,
of the processor, which other work on the machine changes less. surface-distance is a package of its
own: ``pip install surface-distance``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.metrics import Assd, Comparison, Dice, Hd95, Iou, Nsd

SHAPE = (512, 512, 300)
SPACING_MM = (0.8, 0.8, 1.5)


def phantom(labels: int, error: float, seed: int) -> np.ndarray:
    """Ellipsoids over one another, each moved and swollen by up to ``error`` voxels."""
    places, chance = np.random.default_rng(1), np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8, order="F")
    for value in range(1, labels + 1):
        centre = places.uniform(0.2, 0.8, 3) * SHAPE + chance.uniform(-error, error, 3)
        radii = places.uniform(20, 75, 3) * (1, 1, 0.7) + chance.uniform(-error, error, 3)
        low = np.maximum(0, (centre - radii - 1).astype(int))
        box = tuple(slice(a, b) for a, b in zip(low, (centre + radii + 2).astype(int), strict=True))
        axes = np.ogrid[tuple(slice(a, a + s) for a, s in zip(low, mask[box].shape, strict=True))]
        far = sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True))
        mask[box][far <= 1] = value
    return mask


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Do the work and print its seconds."""
    wall, own = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = work()
    wall, own = time.perf_counter() - wall, time.process_time() - own
    print(f"{name:44s} {wall:8.2f} s  ({own:.2f} s)", flush=True)
    return result


def medseg(one: LabelMap, other: LabelMap, threads: int) -> dict[str, list[float]]:
    """Overlap first, then the surfaces in both forms; each from counts that are new."""
    for metric in (Dice(), Hd95(), Hd95(surface="border")):  # compiled before the clock runs
        metric(Comparison(small(one), small(other)))
    found = {}
    comparison = Comparison(one, other, threads)
    overlap = timed("medseg: Dice and IoU", lambda: [m(comparison) for m in (Dice(), Iou())])
    found["dice"] = [m.value for m in overlap[0]]
    for form in ("surfels", "border"):
        comparison = Comparison(one, other, threads)
        asked = (Dice(), Iou(), Hd95(surface=form), Assd(surface=form), Nsd(surface=form))
        told = timed(
            f"medseg: Dice, IoU, HD95, ASSD, NSD ({form})",
            lambda asked=asked, comparison=comparison: [m(comparison) for m in asked],
        )
        found[f"hd95_{form}"] = [m.value for m in told[2]]
    return found


def small(mask: LabelMap) -> LabelMap:
    """A corner of a mask."""
    data = np.asfortranarray(mask.data[100:200, 100:200, 100:160])
    return LabelMap(data, Grid(mask.grid.affine, data.shape), mask.labels)


def monai(one: LabelMap, other: LabelMap) -> dict[str, list[float]]:
    """Label after label, as all at once would need tens of GiB."""
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
    )

    def each(function: Callable[..., Any], **options: Any) -> list[float]:
        values = []
        for name in one.labels.names:
            pair = [torch.from_numpy(m.where(name)[None, None]) for m in (one, other)]
            values.append(float(function(*pair, include_background=True, **options)))
        return values

    spacing = {"spacing": list(SPACING_MM)}
    found = {"dice": timed("MONAI: Dice", lambda: each(compute_dice))}
    timed("MONAI: IoU", lambda: each(compute_iou))
    found["hd95_border"] = timed(
        "MONAI: HD95", lambda: each(compute_hausdorff_distance, percentile=95, **spacing)
    )
    timed("MONAI: ASSD", lambda: each(compute_average_surface_distance, symmetric=True, **spacing))
    timed("MONAI: NSD", lambda: each(compute_surface_dice, class_thresholds=[1.0], **spacing))
    return found


def surface_distance(one: LabelMap, other: LabelMap) -> dict[str, list[float]]:
    """Its one record a label, and all that is read from it."""
    import surface_distance as theirs

    def all_of(name: str) -> float:
        pair = other.where(name), one.where(name)
        record = theirs.compute_surface_distances(*pair, SPACING_MM)
        theirs.compute_average_surface_distance(record)
        theirs.compute_surface_dice_at_tolerance(record, 1)
        theirs.compute_dice_coefficient(*pair)
        return float(theirs.compute_robust_hausdorff(record, 95))

    names = one.labels.names
    told = "surface-distance: Dice, HD95, MSD, NSD"
    return {"hd95_surfels": timed(told, lambda: [all_of(name) for name in names])}


def main() -> None:
    """Time every tool that is here and say how far their numbers are apart."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--labels", type=int, default=14)
    said.add_argument("--error", type=float, default=3.0, help="voxels")
    said.add_argument("--threads", type=int, default=2)
    said.add_argument("--only", nargs="*", default=["medseg", "monai", "surface_distance"])
    asked = said.parse_args()
    labels = Labels(tuple(Label(f"l{value}", (value,)) for value in range(1, asked.labels + 1)))
    grid = Grid(np.diag([*SPACING_MM, 1.0]), SHAPE)
    one, other = (
        LabelMap(phantom(asked.labels, error, seed), grid, labels)
        for error, seed in ((asked.error, 5), (0.0, 6))
    )
    found: dict[str, dict[str, list[float]]] = {}
    if "medseg" in asked.only:
        found["medseg"] = medseg(one, other, asked.threads)
    if "monai" in asked.only:
        found["MONAI"] = monai(one, other)
    if "surface_distance" in asked.only and find_spec("surface_distance"):
        found["surface-distance"] = surface_distance(one, other)
    for tool, values in found.items():
        for name, theirs in values.items() if tool != "medseg" else ():
            mine = found.get("medseg", {}).get(name)
            if mine is not None:
                apart = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
                print(f"{tool} {name}: largest difference from medseg {apart:.2e}")


if __name__ == "__main__":
    main()
