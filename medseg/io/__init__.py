"""Floor 2: files to scans and masks to files, and which studies a path means."""

from medseg.io.layouts import Found, find_studies

__all__ = ["Found", "find_studies"]
