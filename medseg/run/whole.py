"""A run seen as a whole, by whoever shared in it: how far it is, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError
from medseg.io import naming_faults, sha256_of
from medseg.run.calibration import write_calibration
from medseg.run.folder import held
from medseg.run.instances import write_instances
from medseg.run.journal import JOURNAL, SHARDS, Line, journal_lines
from medseg.run.records import Record, read_record
from medseg.run.shards import read_plan
from medseg.run.statistics import Cohort, write_statistics
from medseg.run.tables import for_tables, write_tables

_HOUR = 3600.0


@dataclass(frozen=True)
class Progress:
    """How far a run is: names by state, and studies an hour where that can be told.

    ``left`` are those that no record speaks of, or one of another pipeline.
    """

    output: Path
    done: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]
    by_hour: float | None
    parts: Mapping[str, int]

    @property
    def hours_left(self) -> float | None:
        """At the pace until now."""
        return None if not self.by_hour else len(self.left) / self.by_hour


@dataclass(frozen=True)
class Merged:
    """What ``merge`` made: the summary of all shards, and which studies have not been done."""

    output: Path
    summary: Mapping[str, Any]
    left: tuple[str, ...]


def write_all(output: Path, records: Iterable[Record]) -> Mapping[str, Any]:
    """All tables of a run, with references its statistics too; the summary."""
    records = for_tables(records)
    summary = write_tables(output, records)
    write_instances(output, records)
    write_calibration(output, records)
    if any(record.get("metrics") for record in records):
        patients = {r["study"]: {"patient": r["patient"]} for r in records if "patient" in r}
        write_statistics(output, records, Cohort(patients))
    return summary


def progress(output: Path) -> Progress:
    """How far a run is, from its records and journals alone; nothing is touched.

    Raises InputError E_NO_INPUT where nothing has been run.
    """
    records, left = _records(output, verify=False)
    journals = sorted((output / SHARDS).glob("*.jsonl"))
    lines = {path.stem: list(journal_lines(path)) for path in journals}
    lines[JOURNAL] = list(journal_lines(output / JOURNAL))
    return Progress(
        output,
        tuple(r["study"] for r in records if r["state"] == "done"),
        {r["study"]: r["error"]["code"] for r in records if r["state"] == "failed"},
        left,
        _pace([line for some in lines.values() for line in some]),
        {name: len(some) for name, some in lines.items() if some},
    )


@naming_faults()
def merge(output: Path) -> Merged:
    """The tables and the summary of all shards together, from masks that are whole.

    Raises InputError E_NO_INPUT where nothing has been run, OutputError E_LOCKED where a shard
    is still at work.
    """
    if read_plan(output) is None and not (output / "studies").is_dir():
        raise InputError("E_NO_INPUT", "nothing has been run here", output)
    with held(output):
        records, left = _records(output, verify=True)
        return Merged(output, write_all(output, records), left)


def standing(output: Path, digest: str) -> list[Record]:
    """What tables say of all studies that a pipeline has ended here, done or failed, by name.

    A mask that is not whole is none.
    """
    names = _recorded(output)
    found = (read_record(output, name) for name in names)
    return for_tables(r for r in found if r is not None and _counts(output, r, digest, True))


def _recorded(output: Path) -> list[str]:
    return sorted(path.stem for path in (output / "studies").glob("*.json"))


def _records(output: Path, verify: bool) -> tuple[list[Record], tuple[str, ...]]:
    """The records of what is done or failed, by name, and the names of what is left."""
    plan = read_plan(output)
    # Runs of earlier versions wrote a plan only where they had shards.
    names = _recorded(output) if plan is None else [str(name) for name in plan["studies"]]
    if not names:
        raise InputError("E_NO_INPUT", "nothing has been run here", output)
    digest = None if plan is None else plan["pipeline"]
    found = {name: read_record(output, name) for name in names}
    kept = {n: r for n, r in found.items() if r is not None and _counts(output, r, digest, verify)}
    return [kept[name] for name in sorted(kept)], tuple(n for n in names if n not in kept)


def _counts(output: Path, record: Record, digest: str | None, verify: bool) -> bool:
    if digest is not None and record.get("pipeline", {}).get("digest") != digest:
        return False
    if record.get("state") != "done":
        return record.get("state") == "failed"
    try:
        mask = output / record["mask"]["file"]
        return not verify or sha256_of(mask) == record["mask"]["sha256"]
    except (OSError, KeyError, MedsegError):
        return False


def _pace(lines: Sequence[Line]) -> float | None:
    """Studies an hour, over the last hour of the journals."""
    ends = sorted(
        (datetime.fromisoformat(one["time"]).timestamp(), one["seconds"]) for one in lines
    )
    late = [(end, seconds) for end, seconds in ends if end > ends[-1][0] - _HOUR]
    begun = min((end - seconds for end, seconds in late), default=0.0)
    return len(late) / (ends[-1][0] - begun) * _HOUR if late and ends[-1][0] > begun else None
