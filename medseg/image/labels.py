"""What the numbers in a mask mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

HIGHEST_VALUE = 65535


@dataclass(frozen=True)
class Label:
    """A structure's name and the mask values that belong to it.

    One value for an organ of its own; several for a region made of parts, such as BraTS's
    whole tumour (1, 2, 4). ``colour`` is #rrggbb and ``code`` a term such as SCT:10200004.
    ``paint`` is the value that a region writes into a mask, where its order does not say so.
    """

    name: str
    values: tuple[int, ...]
    colour: str | None = None
    code: str | None = None
    paint: int | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a label has a name")
        if not self.values or len(set(self.values)) != len(self.values):
            raise ValueError(f"label {self.name!r} needs one value or several different ones")
        for value in self.values:
            if not 1 <= value <= HIGHEST_VALUE:
                raise ValueError(
                    f"label {self.name!r}: values run from 1 to {HIGHEST_VALUE}"
                    f" (0 is the background), not {value}"
                )
        if self.paint is not None and self.paint not in self.values:
            raise ValueError(f"label {self.name!r}: paint is one of its values, not {self.paint}")


@dataclass(frozen=True)
class Labels:
    """The table of a pipeline's labels, in the order of the network's channels.

    Labels are *exclusive* when each has one value that no other has: a softmax with a
    background channel decides among them. Otherwise they are *regions* that may overlap, each
    decided on its own by a sigmoid. ``ignore`` is a value in references that says nothing.
    """

    entries: tuple[Label, ...]
    ignore: int | None = None

    def __post_init__(self) -> None:
        if not self.entries:
            raise ValueError("a label table has at least one label")
        names = [label.name for label in self.entries]
        if len(set(names)) != len(names):
            raise ValueError(f"every label has a name of its own, not {names}")
        if self.ignore is not None and self.ignore in self.values:
            raise ValueError(f"the ignore value {self.ignore} is also a label's value")
        if self.ignore == 0:
            raise ValueError("the ignore value cannot be 0, which is the background")
        if not self.exclusive:
            self.painted  # noqa: B018 - raises now if a region could not be written

    def __iter__(self) -> Iterator[Label]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> Label:
        for label in self.entries:
            if label.name == name:
                return label
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names, in the order of the channels."""
        return tuple(label.name for label in self.entries)

    @cached_property
    def values(self) -> frozenset[int]:
        """Every mask value that some label has; neither 0 nor the ignore value."""
        return frozenset(value for label in self.entries for value in label.values)

    @cached_property
    def exclusive(self) -> bool:
        """Whether each label has exactly one value, shared with no other."""
        return all(len(label.values) == 1 for label in self.entries) and len(self.values) == len(
            self.entries
        )

    @property
    def channels(self) -> int:
        """Channels a network needs: labels and background if exclusive, else one a region."""
        return len(self.entries) + 1 if self.exclusive else len(self.entries)

    @cached_property
    def painted(self) -> tuple[int, ...]:
        """The value each label writes into a mask.

        Regions are painted in their order, so a region writes the value that no later region
        holds: whole tumour (1, 2, 4), core (1, 4), enhancing (4) write 2, 1 and 4; or what its
        ``paint`` says. Raises ValueError when a region has no such value, or more than one.
        """
        painted = []
        for place, label in enumerate(self.entries):
            later = {value for after in self.entries[place + 1 :] for value in after.values}
            own = [value for value in label.values if value not in later]
            own = own if label.paint is None else [label.paint]
            if len(own) != 1:
                raise ValueError(
                    f"region {label.name!r} must have exactly one value that no later region"
                    f" holds, to be written by; it has {own or 'none'}"
                )
            painted.append(own[0])
        return tuple(painted)
