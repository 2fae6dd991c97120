"""runs.jsonl: what became of each study and when, a line each, only ever added to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from medseg.io import append_durably, sha256_of
from medseg.models.checkpoint import weights_file
from medseg.pipeline import Pipeline
from medseg.run.records import Record

JOURNAL = "runs.jsonl"
SHARDS = "shards"
Line = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """The journal of one run, in a file that no other run writes to meanwhile.

    A line has the SHA-256 of what went in (``inputs``, ``pipeline``, ``models``) and of what came
    out (``mask``), how the study ended, in which run, and the UTC time.
    """

    path: Path
    pipeline: str
    models: tuple[str, ...]
    run: str = field(default_factory=lambda: token_hex(4))
    _known: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, path: Path, pipeline: Pipeline, digest: str) -> Journal:
        """The journal at ``path``, to which a run of ``pipeline`` adds."""
        others = [path, *path.parent.glob("*.jsonl"), *path.parent.glob(f"{SHARDS}/*.jsonl")]
        if path.parent.name == SHARDS:
            others.append(path.parent.parent / JOURNAL)
        lines = journal_lines(*dict.fromkeys(others))
        known = {(one["study"], one["mask"]) for one in lines if one.get("mask")}
        return cls(path, digest, tuple(_models(pipeline)), _known=known)

    def add(self, record: Record, seconds: float, kept: bool) -> None:
        """Say how a study ended; of a mask that was kept and has its line already, nothing."""
        mask = record.get("mask", {}).get("sha256")
        if kept and (record["study"], mask) in self._known:
            return
        line: Line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run": self.run,
            "study": record["study"],
            "state": record["state"],
            "seconds": round(seconds, 3),
        }
        if mask is None:
            line["code"] = record["error"]["code"]
        else:
            line |= {"mask": mask, "inputs": record["inputs"]}
        line |= {"pipeline": self.pipeline, "models": list(self.models)}
        append_durably(self.path, json.dumps(line, ensure_ascii=False, allow_nan=False))


def journal_lines(*paths: Path) -> Iterator[Line]:
    """The lines of journals; a line that was cut off by a kill is none."""
    for path in paths:
        if not path.is_file():
            continue
        for text in path.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, Mapping) and "study" in line:
                    yield dict(line)


def _models(pipeline: Pipeline) -> Iterator[str]:
    """The digest of each network's weights."""
    for step in pipeline.inference:
        weights = getattr(step, "weights", None)
        if weights is not None:
            yield sha256_of(weights_file(weights))
