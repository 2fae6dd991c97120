"""Several processes, on one machine or on many, that share the studies of one run."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EMLINK
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

from medseg.errors import OutputError
from medseg.image import Study
from medseg.io import write_atomically
from medseg.run.journal import SHARDS
from medseg.run.records import record_path

PLAN = "plan.json"
_ANY = "any"


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shards, counted from 1; ``index`` 0 takes whatever nobody has claimed.

    A study belongs to the shard that the digest of its name says, whatever else is there.
    """

    index: int
    count: int = 0

    @classmethod
    def named(cls, text: str) -> Shard:
        """``3/8``, or ``any``. Raises ValueError."""
        if text == _ANY:
            return cls(0)
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"a shard is one of several, such as 1/8 to 8/8, or any, not {text!r}")
        return cls(int(found[1]), int(found[2]))

    def has(self, name: str) -> bool:
        """Whether a study may be this shard's."""
        if self.index == 0:
            return True
        return int(sha256(name.encode()).hexdigest(), 16) % self.count == self.index - 1

    @property
    def name(self) -> str:
        """As a part of a file's name."""
        return f"{self.index}-of-{self.count}" if self.index else f"any-{token_hex(4)}"


def write_plan(
    output: Path, studies: Iterable[Study], digest: str, others: Iterable[str] = ()
) -> None:
    """Say which studies a run has, all shards together, and by which pipeline they are done.

    ``others`` are the names of studies that came before.
    """
    names = {study.name for study in studies}.union(others)
    wanted = {"pipeline": digest, "studies": sorted(names)}
    if read_plan(output) != wanted:
        text = json.dumps(wanted, indent=1, ensure_ascii=False) + "\n"
        write_atomically(output / SHARDS / PLAN, text.encode("utf-8", "backslashreplace"))


def read_plan(output: Path) -> dict[str, Any] | None:
    """What ``write_plan`` wrote, or None."""
    try:
        plan = json.loads((output / SHARDS / PLAN).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


@contextmanager
def claiming(output: Path) -> Iterator[Claims]:
    """Claims of this process, which others respect for as long as it lives."""
    claims = Claims(output)
    try:
        yield claims
    finally:
        claims.close()


class Claims:
    """A file for each claimed study, made only where there is none.

    It is one more name of a file that its owner holds locked. The system frees that lock with
    the owner's end, so the claims of the dead are anybody's, and nobody has to guess by the time.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._folder = output / SHARDS / "claims"
        self._begun = 0
        self._held: list[int] = []
        self._mine = Path()

    def taken(self, studies: Sequence[Study]) -> Iterator[Study]:
        """Each study that nobody has, when it is asked for; then those of the dead.

        What another ended since this one began is not looked at again.
        Raises OutputError E_PERMISSION where the folder takes no claims.
        """
        try:
            others = []
            self._renew()
            # A time of the folder's own machine, as are those of records.
            self._begun = self._mine.stat().st_mtime_ns
            for study in studies:
                if self._claimed(study.name):
                    yield study
                else:
                    others.append(study)
            for study in others:
                if not self._ended(study.name) and self._taken_over(study.name):
                    yield study
        except OSError as error:
            told = f"takes no claims of shards ({error.strerror}); use --shard 1/8 and so on"
            raise OutputError("E_PERMISSION", told, self._folder) from error

    def close(self) -> None:
        """Let go of all of them."""
        for descriptor in self._held:
            os.close(descriptor)
        if self._held:
            self._mine.unlink(missing_ok=True)
        self._held.clear()

    def _renew(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._held:
            self._mine.unlink(missing_ok=True)
        self._mine = self._folder / f".{token_hex(8)}"
        self._held.append(os.open(self._mine, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
        fcntl.flock(self._held[-1], fcntl.LOCK_EX)

    def _claimed(self, name: str) -> bool:
        try:
            (self._folder / name).hardlink_to(self._mine)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno != EMLINK:
                raise
            # No file can have any number of names.
            self._renew()
            return self._claimed(name)
        return True

    def _ended(self, name: str) -> bool:
        try:
            return record_path(self._output, name).stat().st_mtime_ns >= self._begun
        except FileNotFoundError:
            return False

    def _taken_over(self, name: str) -> bool:
        path = self._folder / name
        try:
            old = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return self._claimed(name)
        try:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino != os.fstat(old).st_ino:
                return False
            mine = path.with_name(f".{token_hex(8)}")
            mine.hardlink_to(self._mine)
            mine.replace(path)
        except BlockingIOError:
            return False
        finally:
            os.close(old)
        return True
