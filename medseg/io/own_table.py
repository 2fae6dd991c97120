"""The labels that a mask says it has, whatever its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import StudyError
from medseg.image import Grid, Label, Labels
from medseg.io.dicom.drawings import is_drawing, read_drawing
from medseg.io.reference import read_label_values
from medseg.io.seg_nrrd import SUFFIX, read_seg_nrrd

_COMMENT = 6
_LONGEST = 1 << 20


def is_mask(path: Path) -> bool:
    """Whether a file says of itself that it is a mask: SEG, RTSTRUCT, .seg.nrrd, or medseg's."""
    if not path.is_file():
        return False
    if is_drawing(path) or path.name.lower().endswith(SUFFIX):
        return True
    return nifti_labels(path) is not None


def labels_in(path: Path, grid: Grid | None = None) -> Labels:
    """The labels that a mask names, else one a value, called by its number.

    ``grid`` is needed for outlines. Raises StudyError, E_LABEL_VALUES where a mask is empty and
    names nothing.
    """
    if is_drawing(path):
        return read_drawing(path, None, grid)[0].labels
    if path.name.lower().endswith(SUFFIX):
        named = read_seg_nrrd(path)
        if named is not None:
            return named[0].labels
    known = nifti_labels(path)
    if known is not None:
        return known
    values = sorted(set(np.unique(read_label_values(path)[0]).tolist()) - {0})
    if not values:
        raise StudyError("E_LABEL_VALUES", "the mask is empty; name its labels by --labels", path)
    return Labels(tuple(Label(str(int(value)), (int(value),)) for value in values))


def nifti_labels(path: Path) -> Labels | None:
    """The table that medseg wrote into a NIfTI mask; None where there is none."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    import nibabel as nib

    try:
        extensions = nib.load(path).header.extensions
        texts = [one.get_content() for one in extensions if one.get_code() == _COMMENT]
        said = [json.loads(text) for text in texts if len(text) < _LONGEST]
        return _table(next(one["medseg"]["labels"] for one in said if "medseg" in one))
    except Exception:
        return None  # another's file, or none that can be read: the door says so if it is wanted


def _table(said: dict[str, Any]) -> Labels:
    entries = []
    for name, one in said.items():
        more = one if isinstance(one, dict) else {}
        values = more.get("values", more.get("value", one))
        listed = values if isinstance(values, list) else [values]
        entries.append(Label(name, tuple(map(int, listed)), more.get("colour"), more.get("code")))
    return Labels(tuple(entries))
