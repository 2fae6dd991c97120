"""medseg: CT and MRI scans to masks, from one readable pipeline file."""

__version__ = "0.1.0"
