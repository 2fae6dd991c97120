"""What the benchmarks on real scans share: where these are, and medseg called as a user would."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDSEG_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


def medseg(*words: str | Path, log: Path | None = None) -> float:
    """Call the command, its words on the screen or in a file; the most memory it took, in GiB."""
    print("medseg", *words, flush=True)
    actions = []
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, str(log), how, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
    place = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "medseg", *map(str, words)],
        os.environ,
        file_actions=actions,
    )
    _, status, usage = os.wait4(place, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise RuntimeError(f"medseg {' '.join(map(str, words))} failed; see {log or 'above'}")
    return usage.ru_maxrss / 2**20


def measures(output: Path, metric: str = "dice") -> dict[str, dict[str, float]]:
    """For each label the value of a metric by study, where it has one."""
    found: dict[str, dict[str, float]] = {}
    with (output / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            if row["metric"] == metric and row["value"]:
                found.setdefault(row["label"], {})[row["study"]] = float(row["value"])
    return found


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]], texts: int = 1) -> list[str]:
    """A table; the first ``texts`` columns are words, the others numbers."""
    line = "|" + "---|" * texts + "---:|" * (len(head) - texts)
    return [f"| {' | '.join(map(str, one))} |" for one in (head,)] + [
        line,
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
    ]


def write_between(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put lines into a page between the comments ``name`` and ``name ends``."""
    begin, end = f"<!-- {name} -->", f"<!-- {name} ends -->"
    text = page.read_text()
    if begin not in text:
        raise ValueError(f"{page} has no {begin}")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    page.write_text(before + "\n".join([begin, "", *lines, "", end]) + after)


def settings(**options: Any) -> list[str]:
    """``--set`` for each option that is not None, dots being double underscores."""
    return [
        word
        for name, value in options.items()
        if value is not None
        for word in ("--set", f"{name.replace('__', '.')}={value}")
    ]
