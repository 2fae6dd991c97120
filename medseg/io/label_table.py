"""Label names beside masks: BIDS's dseg.tsv, and the tables of ITK-SNAP and 3D Slicer."""

from __future__ import annotations

from pathlib import Path

from medseg.image import Labels
from medseg.io.atomic import write_atomically
from medseg.io.terms import colour_of, rgb

_FORMULA = ("=", "+", "-", "@")


def write_label_table(path: Path, labels: Labels) -> str:
    """Write a BIDS label table (index, name, color); the SHA-256 of its bytes.

    One row a value, from the lowest; a value that several regions hold has all their names,
    joined by ``+``. Raises OutputError.
    """
    painted = dict(zip(labels.painted, labels, strict=True)) if not labels.exclusive else {}
    rows = ["index\tname\tcolor"]
    for value in sorted(labels.values):
        holders = [label for label in labels if value in label.values]
        colour = painted.get(value, holders[0]).colour or "n/a"
        rows.append(f"{value}\t{_cell('+'.join(label.name for label in holders))}\t{colour}")
    return write_atomically(path, ("\n".join(rows) + "\n").encode())


def write_itksnap_table(path: Path, labels: Labels) -> str:
    """Write a label description file of ITK-SNAP; the SHA-256 of its bytes. Raises OutputError."""
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    for value, name, (red, green, blue) in _painted(labels):
        told = "".join("'" if c == '"' else c if c.isprintable() else " " for c in name)
        rows.append(f'{value:5d}   {red:3d}  {green:3d}  {blue:3d}        1  1  1    "{told}"')
    head = (
        "# ITK-SnAP Label Description File",
        "# IDX   R    G    B      A  VIS MSH  LABEL",
    )
    return write_atomically(path, ("\n".join([*head, *rows]) + "\n").encode())


def write_slicer_table(path: Path, labels: Labels) -> str:
    """Write a colour table (.ctbl) of 3D Slicer; the SHA-256 of its bytes. Raises OutputError."""
    rows = ["0 background 0 0 0 0"]
    for value, name, (red, green, blue) in _painted(labels):
        told = "".join(c if c.isprintable() and not c.isspace() else "_" for c in name)
        rows.append(f"{value} {told} {red} {green} {blue} 255")
    head = f"# Color table of medseg\n# {len(rows)} values\n"
    return write_atomically(path, (head + "\n".join(rows) + "\n").encode())


def _painted(labels: Labels) -> list[tuple[int, str, tuple[int, int, int]]]:
    """The value that each label writes, its name and its colour."""
    values = [one.values[0] for one in labels] if labels.exclusive else list(labels.painted)
    return sorted(
        (value, label.name, rgb(colour_of(label, place)))
        for place, (value, label) in enumerate(zip(values, labels, strict=True))
    )


def _cell(text: str) -> str:
    """A name that stays in its cell and that no spreadsheet takes for a formula."""
    flat = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"'{flat}" if flat.startswith(_FORMULA) else flat
