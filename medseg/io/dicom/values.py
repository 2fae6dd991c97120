"""Single tags as plain values: what is not of the type that it should be is not there."""

from __future__ import annotations

from math import isfinite
from typing import Any

Floats = tuple[float, ...]


def text_of(found: Any, name: str) -> str:
    """A tag's text, empty where it is not there or is no text."""
    value = _raw(found, name)
    return str(value).strip() if isinstance(value, str) else ""


def whole_of(found: Any, name: str) -> int | None:
    """A tag's whole number, or None."""
    value = _raw(found, name)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def numbers_of(found: Any, name: str, count: int) -> Floats | None:
    """A tag's ``count`` finite numbers, or None."""
    value = _raw(found, name)
    try:
        numbers = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(isfinite, numbers)) else None


def number_of(found: Any, name: str) -> float | None:
    """A tag's finite number, or None."""
    value = _raw(found, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def scale_of(found: Any, name: str, default: float) -> float:
    """A scale: the default where it is absent, NaN where it is there and no number."""
    if _raw(found, name) is None:
        return default
    number = number_of(found, name)
    return float("nan") if number is None else number


def words_of(found: Any, name: str) -> tuple[str, ...]:
    """A tag's words in capitals; none where it is not there."""
    value = _raw(found, name)
    if isinstance(value, str):
        value = [value]
    try:
        return tuple(str(word).strip().upper() for word in value or () if str(word).strip())
    except TypeError:
        return ()


def _raw(found: Any, name: str) -> Any:
    try:
        return found.get(name)
    except Exception:
        return None  # a value that its own type does not allow
