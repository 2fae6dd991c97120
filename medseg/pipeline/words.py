"""Names that were meant, and lists of names as one writes them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def listed(names: Iterable[str]) -> str:
    """``'a', 'b' or 'c'``, in the order given."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def meant(word: str, known: Iterable[str]) -> str | None:
    """The one known name that a misspelt word stands for, if there is one."""
    names = list(known)
    # Another case, or the beginning of one name only, says more than the number of letters.
    same = [name for name in names if name.lower() == word.lower()]
    begun = [name for name in names if len(word) > 2 and name.startswith(word)]
    if same or len(begun) == 1:
        return (same or begun)[0]
    return next(iter(get_close_matches(word, names, n=1, cutoff=0.6)), None)


def instead(word: str, known: Iterable[str]) -> str:
    """What to say after an unknown word: the name that was meant, else all of them if few."""
    names = list(known)
    name = meant(word, names)
    if name is not None:
        return f"; did you mean '{name}'?"
    return f"; there is {listed(names)}" if 0 < len(names) <= 12 else ""
