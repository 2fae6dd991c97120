"""instances.csv: every lesion or organ of a run on a line of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import LabelMap
from medseg.io import write_atomically
from medseg.metrics import Instances, Lesions
from medseg.metrics.instances import Instance, instances, match, split
from medseg.run.certainty import Certainty
from medseg.run.records import Record
from medseg.run.tables import csv_bytes

_WORLD = ("x", "y", "z")
_COLUMNS = (
    *("study", "label", "mask", "instance", "volume_ml"),
    *(f"low_{axis}_mm" for axis in _WORLD),
    *(f"high_{axis}_mm" for axis in _WORLD),
    *(f"centroid_{axis}_mm" for axis in _WORLD),
    *("longest_mm", "across_mm", "mean_confidence", "found", "partner", "iou"),
)


def instance_rows(
    mask: LabelMap,
    reference: LabelMap | None,
    rule: Lesions,
    names: Sequence[str] = (),
    sure: Certainty | None = None,
) -> list[dict[str, Any]]:
    """The lesions of each label in ``mask`` and, where there is one, in ``reference``.

    A lesion is ``found`` where the other mask has a partner for it; without a reference that is
    not known. Voxels to ignore are background. ``sure`` gives predicted lesions a confidence.
    """
    rows: list[dict[str, Any]] = []
    for name in names or mask.labels.names:
        mine = mask.where(name)
        if reference is None:
            one = split(mine, rule.connectivity)
            rows += _rows(name, "prediction", instances(mask, one, _sure(sure, name, one)))
            continue
        theirs = reference.where(name)
        if reference.labels.ignore is not None:
            mine &= reference.data != reference.labels.ignore
        one, other = (split(marked, rule.connectivity) for marked in (mine, theirs))
        found = match(one, other, rule.least_iou)
        pairs = list(zip(found.pairs, found.ious, strict=True))
        partner = {a + 1: (b + 1, iou) for (a, b), iou in pairs}
        back = {b + 1: (a + 1, iou) for (a, b), iou in pairs}
        rows += _rows(name, "prediction", instances(mask, one, _sure(sure, name, one)), partner)
        rows += _rows(name, "reference", instances(reference, other), back)
    return rows


def _sure(sure: Certainty | None, name: str, numbers: NDArray[np.uint32]) -> list[float] | None:
    return None if sure is None else sure.of_instances(name, numbers)


def instances_of(
    study: str,
    asked: Instances,
    masks: Sequence[LabelMap],
    reference: LabelMap | None,
    sure: Certainty | None = None,
) -> list[dict[str, Any]]:
    """The lesions of a study as its pipeline asks for them; StudyError E_NDIM for a series.

    ``sure`` gives predicted lesions a confidence.
    """
    if len(masks) > 1:
        raise StudyError("E_NDIM", "instances are of a 3D mask, not of a series", study)
    return instance_rows(masks[0], reference, asked.rule, asked.labels or (), sure)


def _rows(
    label: str,
    mask: str,
    found: Iterable[Instance],
    partner: dict[int, tuple[int, float]] | None = None,
) -> list[dict[str, Any]]:
    rows = []
    for one in found:
        row: dict[str, Any] = {"label": label, "mask": mask, "instance": one.number}
        row["volume_ml"] = round(one.volume_ml, 6)
        for part, point in (
            ("low", one.low_mm),
            ("high", one.high_mm),
            ("centroid", one.centroid_mm),
        ):
            row |= {f"{part}_{a}_mm": round(v, 3) for a, v in zip(_WORLD, point, strict=True)}
        row["longest_mm"] = round(one.diameters_mm.longest, 3)
        row["across_mm"] = round(one.diameters_mm.across, 3)
        row["mean_confidence"] = one.confidence
        if partner is not None:
            other, iou = partner.get(one.number, (None, None))
            row |= {"found": "no" if other is None else "yes", "partner": other, "iou": iou}
        rows.append(row)
    return rows


def write_instances(output: Path, records: Iterable[Record]) -> None:
    """Write instances.csv from what the records hold of lesions, if any of them was asked to."""
    asked = [record for record in records if "instances" in record]
    if not asked:
        return
    rows = [
        tuple({**row, "study": record["study"]}.get(column) for column in _COLUMNS)
        for record in asked
        for row in record["instances"]
    ]
    write_atomically(output / "instances.csv", csv_bytes(_COLUMNS, rows))
