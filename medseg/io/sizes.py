"""Numbers of bytes and voxels as a person reads them."""

from __future__ import annotations


def spaced(number: int) -> str:
    """Thousands set apart by spaces: 41 302 016."""
    return f"{number:,}".replace(",", " ")


def in_bytes(number: float) -> str:
    """A size in the unit that suits it: 12 kB, 3 GB, 70 368 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            value = number / size
            return f"{spaced(round(value))} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{spaced(round(number))} bytes"


def in_gib(number: float) -> str:
    """Gibibytes: 12.5, and 0.00047 where there are hardly any."""
    return f"{number:.1f}" if number >= 0.1 else f"{number:.2g}"


def by(shape: tuple[int, ...]) -> str:
    """A shape in words: 512 x 512 x 160."""
    return " x ".join(str(side) for side in shape)
