"""Label names beside masks, as BIDS has them: a dseg.tsv."""

from __future__ import annotations

from pathlib import Path

from medseg.image import Labels
from medseg.io.atomic import write_atomically

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


def _cell(text: str) -> str:
    """A name that stays in its cell and that no spreadsheet takes for a formula."""
    flat = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"'{flat}" if flat.startswith(_FORMULA) else flat
