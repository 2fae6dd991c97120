"""Masks as derivatives, and data sets, after the Brain Imaging Data Structure (BIDS 1.10)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from os import fspath
from pathlib import Path

from medseg.image import LabelMap
from medseg.image.study import Stack
from medseg.io.atomic import write_atomically
from medseg.io.label_table import write_label_table

BIDS_VERSION = "1.10.0"
_FOLDERS = ("anat", "pet", "ct", "dwi", "perf", "func", "fmap")
_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")


def write_derivative(
    path: Path, mask: LabelMap, image: Path | Stack | None, tool: str = "medseg"
) -> Mapping[str, str]:
    """Write a mask as ``sub-*/anat/*_dseg.nii.gz`` beside a description of the data set.

    ``path`` is the folder of all derivatives and the study's name; ``image`` is the scan, whose
    folder names the kind of data. The SHA-256 of each file by its path in that folder. Raises
    OutputError.
    """
    from medseg.io.write import write_mask

    root, study = path.parent, path.name
    entities = entities_of(study)
    kind = "anat" if image is None else Path(fspath(image)).parent.name
    folder = "/".join(one for one in entities if one.startswith(("sub-", "ses-")))
    label = letters(tool.removeprefix("medseg ")) or "medseg"
    name = f"{'_'.join(entities)}_seg-{label}_dseg"
    place = f"{folder}/{kind if kind in _FOLDERS else 'anat'}/{name}"
    told = {
        "Name": "medseg masks",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medseg", "Version": version("medseg"), "Description": tool}],
    }
    return {
        f"{place}.nii.gz": write_mask(root / f"{place}.nii.gz", mask),
        f"{place}.tsv": write_label_table(root / f"{place}.tsv", mask.labels),
        "dataset_description.json": write_json(root / "dataset_description.json", told),
    }


def entities_of(study: str) -> list[str]:
    """A study's name as BIDS entities: its own where it has some, else a subject of its letters."""
    parts = [part for part in study.split("_") if _ENTITY.fullmatch(part)]
    if parts and parts[0].startswith("sub-"):
        return [part for part in parts if not part.startswith("seg-")]
    return [f"sub-{letters(study)}"]


def letters(text: str) -> str:
    """The letters and digits of a text: all that BIDS allows in a name."""
    return "".join(c for c in text if c.isascii() and c.isalnum())


def write_json(path: Path, said: object) -> str:
    """Write JSON; the SHA-256 of its bytes. Raises OutputError."""
    return write_atomically(path, (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())
