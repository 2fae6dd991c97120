"""Floor 2: files to scans and masks to files, and which studies a path means."""

from medseg.io.atomic import remove_leftovers, write_atomically
from medseg.io.geometry import Geometry, tolerance_mm
from medseg.io.label_table import write_label_table
from medseg.io.layouts import Found, find_studies
from medseg.io.monai_reader import monai_reader
from medseg.io.options import ReadOptions
from medseg.io.reference import read_label_values, read_labels
from medseg.io.scan import Scan, digests_of, read_scan
from medseg.io.stream import sha256_of
from medseg.io.write import write_mask

__all__ = [
    "Found",
    "Geometry",
    "ReadOptions",
    "Scan",
    "digests_of",
    "find_studies",
    "monai_reader",
    "read_label_values",
    "read_labels",
    "read_scan",
    "remove_leftovers",
    "sha256_of",
    "tolerance_mm",
    "write_atomically",
    "write_label_table",
    "write_mask",
]
