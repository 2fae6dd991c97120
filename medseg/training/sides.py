"""Labels that a mirror image exchanges: a left and a right of the same name."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OTHER = {"left": "right", "l": "r", "lt": "rt", "lh": "rh", "links": "rechts"}
_OTHER |= {other: one for one, other in _OTHER.items()}
_WORD = re.compile(r"[A-Za-z]+")


def sided_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names that differ by left and right alone, such as kidney_left and kidney_right."""
    known = {name.lower(): name for name in names}
    pairs = []
    for name in names:
        other = known.get(_WORD.sub(_turned, name.lower()))
        if other is not None and other != name and (other, name) not in pairs:
            pairs.append((name, other))
    return pairs


def _turned(word: re.Match[str]) -> str:
    return _OTHER.get(word[0], word[0])
