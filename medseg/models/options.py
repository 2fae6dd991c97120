"""What the options of several networks have in common: strides by axis, scaled widths."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TypeAlias

Axes: TypeAlias = tuple[int, ...]
Entries: TypeAlias = tuple[int | tuple[int, ...], ...]


def strides_by_axis(
    entries: Sequence[int | Axes] | None, dims: int, count: int
) -> tuple[Axes, ...]:
    """``count`` strides of ``dims`` numbers each; 2 everywhere where none are given.

    Raises ValueError where there are more or fewer, or where one is below 1.
    """
    given: Sequence[int | Axes] = (2,) * count if entries is None else entries
    if len(given) != count:
        raise ValueError(f"strides wants {count} entries, not {len(given)}")
    found = tuple((one,) * dims if isinstance(one, int) else tuple(one) for one in given)
    for one in found:
        if len(one) != dims or min(one) < 1:
            raise ValueError(f"strides are a number above 0 or {dims} of them, not {one}")
    return found


def multiples(strides: Sequence[Axes]) -> Axes:
    """How much coarser the grid is after all of them, along each axis."""
    total = [1] * len(strides[0])
    for stride in strides:
        total = [one * other for one, other in zip(total, stride, strict=True)]
    return tuple(total)


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """``channels`` times ``width``, rounded to a multiple and at least one of them."""
    return max(1, round(channels * width / multiple)) * multiple


def check_width(width: float) -> None:
    """Raise ValueError where a ``width`` scales nothing."""
    if not 0 < width < inf:
        raise ValueError(f"width scales the channels by a number above 0, not {width}")


def check_rates(rates: Entries, dims: int, name: str = "rates") -> None:
    """Raise ValueError where ``rates`` are none, below 1, or not one number an axis."""
    for rate in rates:
        numbers = (rate,) * dims if isinstance(rate, int) else rate
        if len(numbers) != dims or min(numbers) < 1:
            raise ValueError(f"{name} are a number above 0 or {dims} of them, not {rate}")
    if not rates:
        raise ValueError(f"{name} wants at least one")
