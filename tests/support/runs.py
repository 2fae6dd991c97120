"""What a run left behind, in a form that can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg.run.predict import RunSummary

_TIMED = ("runs.jsonl", "shards")


def everything(output: Path) -> dict[str, bytes]:
    """All files of a run, without what no two runs share: seconds, and when a study ended."""
    found = {}
    for path in sorted(output.rglob("*")):
        place = path.relative_to(output)
        if not path.is_file() or path.name.startswith(".") or place.parts[0] in _TIMED:
            continue
        data = path.read_bytes()
        if path.suffix == ".json" and path.parent.name == "studies":
            record = json.loads(data)
            record.pop("seconds", None)
            data = json.dumps(record).encode()
        found[str(place)] = data
    return found


def states(summary: RunSummary) -> list[str]:
    """How each study ended, in order."""
    return [outcome.state for outcome in summary.outcomes]


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal."""
    return [json.loads(line) for line in path.read_text().splitlines()]
