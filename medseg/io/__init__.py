"""Floor 2: files to scans and masks to files, and which studies a path means.

Everything is imported when it is first asked for: a pipeline is checked without reading a scan.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.io.atomic import (
        append_durably,
        naming_faults,
        remove_leftovers,
        write_atomically,
    )
    from medseg.io.for_monai import monai_reader
    from medseg.io.geometry import Geometry, tolerance_mm
    from medseg.io.label_table import write_label_table
    from medseg.io.layouts import Found, find_masks, find_studies
    from medseg.io.layouts_manifest import study_attributes
    from medseg.io.options import ReadOptions
    from medseg.io.reference import has_no_grid, is_drawn, read_label_values, read_labels, values_in
    from medseg.io.scan import Scan, digests_of, grid_of, read_scan
    from medseg.io.stream import sha256_of
    from medseg.io.write import write_map, write_mask

_HOMES = {
    "for_monai": ("monai_reader",),
    "atomic": ("append_durably", "naming_faults", "remove_leftovers", "write_atomically"),
    "geometry": ("Geometry", "tolerance_mm"),
    "label_table": ("write_label_table",),
    "layouts": ("Found", "find_masks", "find_studies"),
    "layouts_manifest": ("study_attributes",),
    "options": ("ReadOptions",),
    "reference": ("has_no_grid", "is_drawn", "read_label_values", "read_labels", "values_in"),
    "scan": ("Scan", "digests_of", "grid_of", "read_scan"),
    "stream": ("sha256_of",),
    "write": ("write_map", "write_mask"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Found",
    "Geometry",
    "ReadOptions",
    "Scan",
    "append_durably",
    "digests_of",
    "find_masks",
    "find_studies",
    "grid_of",
    "has_no_grid",
    "is_drawn",
    "monai_reader",
    "naming_faults",
    "read_label_values",
    "read_labels",
    "read_scan",
    "remove_leftovers",
    "sha256_of",
    "study_attributes",
    "tolerance_mm",
    "values_in",
    "write_atomically",
    "write_label_table",
    "write_map",
    "write_mask",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"medseg.io.{_HOME[name]}"), name)
    raise AttributeError(f"module 'medseg.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
