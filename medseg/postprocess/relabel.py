"""Other numbers for labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from medseg.image import LabelMap, Labels, mask_dtype
from medseg.image.labels import HIGHEST_VALUE
from medseg.step import Step


@dataclass(frozen=True)
class Relabel(Step):
    """Write labels by other values: ``values: {liver: 5, spleen: 1}``; 0 removes a label.

    The mask's label table changes with it, so tables and metrics follow. Labels are exclusive;
    two labels may not end at one value.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("values",)

    values: Mapping[str, int]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("values names at least one label")
        for name, value in self.values.items():
            if not 0 <= value <= HIGHEST_VALUE:
                raise ValueError(f"{name} cannot be written as {value}; 0 to {HIGHEST_VALUE}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask with the new values and the table that goes with them."""
        unknown = [name for name in self.values if name not in mask.labels.names]
        if unknown:
            raise ValueError(f"values name labels that this mask does not have: {unknown}")
        entries = []
        table = np.zeros(int(mask.data.max(initial=0)) + 1, np.uint16)
        for label in mask.labels:
            new = self.values.get(label.name, label.values[0])
            if len(label.values) != 1:
                raise ValueError(f"relabel is for exclusive labels; {label.name} is a region")
            if label.values[0] < len(table):
                table[label.values[0]] = new
            if new:
                entries.append(replace(label, values=(new,)))
        if len({entry.values for entry in entries}) < len(entries):
            raise ValueError(f"relabel gives two labels one value: {dict(self.values)}")
        labels = Labels(tuple(entries), mask.labels.ignore)
        return LabelMap(table[mask.data].astype(mask_dtype(labels)), mask.grid, labels)
