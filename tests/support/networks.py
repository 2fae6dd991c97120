"""The options that make each network small enough to be built and trained in a test."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "dynunet": {"widths": (4, 6, 8), "deep_supervision": 1},
}
