"""The corpus tried through Python and through the command line, and how each row ended."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from click.testing import CliRunner
from support.corpus.case import Case
from support.corpus.pipelines import GOOD
from support.corpus.weights import FOREIGN, NETWORK
from support.image_bytes import nifti

from medseg.cli import main
from medseg.errors import MedsegError
from medseg.run.events import Event, Note
from medseg.run.verbs import asked

TOGETHER = ("scan", "mask")
"""Kinds that are studies of one manifest; each of the others is a run of its own."""
_TO_MM = {1: 1000.0, 2: 1.0, 3: 0.001}


@dataclass(frozen=True)
class End:
    """How a row ended: ``done`` with warnings and a mask, or a code and what was said."""

    ends: str
    warns: tuple[str, ...] = ()
    said: str = ""
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class Trial:
    """One run: the pipeline, its input, where it writes, and the rows by their studies' names."""

    pipeline: Path
    input: Path
    output: Path
    rows: dict[str, Case]

    @property
    def alone(self) -> Case | None:
        """The only row, whatever its study is called."""
        rows = list(self.rows.values())
        return rows[0] if len(rows) == 1 and rows[0].kind not in TOGETHER else None


def trials(cases: Sequence[Case], folder: Path) -> list[Trial]:
    """The runs that try these rows, their files made in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "good.yaml").write_text(GOOD)
    (folder / "scan.nii").write_bytes(nifti())
    many = [case for case in cases if case.kind in TOGETHER]
    alone = [case for case in cases if case.kind not in TOGETHER]
    return [
        *([_together(many, folder)] if many else []),
        *(_alone(case, folder / f"{number:03d}") for number, case in enumerate(alone)),
    ]


def _together(cases: Sequence[Case], folder: Path) -> Trial:
    rows = {f"row_{number:03d}": case for number, case in enumerate(cases)}
    table = folder / "corpus.csv"
    with table.open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(("study", "image", "reference"))
        for name, case in rows.items():
            (folder / name).mkdir()
            made = case.make(folder / name).relative_to(folder)
            pair = (made, "") if case.kind == "scan" else ("scan.nii", made)
            written.writerow((name, *pair))
    return Trial(folder / "good.yaml", table, folder / "out", rows)


def _alone(case: Case, folder: Path) -> Trial:
    folder.mkdir()
    (folder / "in").mkdir()
    made = case.make(folder / "in")
    pipeline = folder.parent / "good.yaml"
    given = made if case.kind in ("series", "folder") else folder.parent / "scan.nii"
    if case.kind == "pipeline":
        pipeline = made
    elif case.kind == "weights":
        told = f"{{path: in/{made.name}, format: monai}}" if made.name == FOREIGN else ""
        pipeline = folder / "p.yaml"
        pipeline.write_text(NETWORK.replace("WEIGHTS", told or f"in/{made.name}"))
    return Trial(pipeline, given, folder / "out", {case.name: case})


def by_python(trial: Trial) -> dict[Case, End]:
    """Through ``predict``."""
    from medseg.run.predict import predict

    heard: list[Event] = []
    try:
        told = asked(trial.pipeline, input=trial.input, output=trial.output)
        summary = predict(told, watch=heard.append)
    except MedsegError as error:
        return _everywhere(trial, End(error.code, said=str(error)))
    ends = {}
    for outcome in summary.outcomes:
        said = str(outcome.error) if outcome.error else ""
        ends[_row(trial, outcome.name)] = _ended(trial, dict(outcome.record), said)
    return _noted(ends, [event.text for event in heard if isinstance(event, Note)])


def by_command(trial: Trial) -> dict[Case, End]:
    """Through ``medseg run``."""
    words = ["run", trial.pipeline, "--input", trial.input, "--output", trial.output]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return ends_of_command(trial, result.exit_code, result.output, result.stderr)


def ends_of_command(trial: Trial, code: int, output: str, told: str) -> dict[Case, End]:
    """How the rows ended by what a command left, printed and gave as its exit code."""
    assert "Traceback" not in output + told
    if code == 2:
        return _everywhere(trial, End(_last_code(told), said=told))
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    failed = [line for line in lines if line["state"] == "failed"]
    assert code == bool(failed), (code, told)
    ends = {}
    for line in lines:
        path = trial.output / "studies" / f"{line['study']}.json"
        record = json.loads(path.read_text())
        assert record["state"] == line["state"]
        ends[_row(trial, line["study"])] = _ended(trial, record, line.get("message", ""))
    return _noted(ends, told.splitlines())


def wrong(cases: Iterable[Case], ends: Mapping[Case, End]) -> dict[str, str]:
    """The rows that did not end as they must, and how they did."""
    found = {}
    for case in cases:
        end = ends.get(case)
        if end is None:
            found[str(case)] = "not told of"
        elif end.ends != case.ends:
            found[str(case)] = f"wanted {case.ends}: {end.ends} {end.said[-200:]}"
        elif end.mask is not None and not is_right(case, end.mask):
            found[str(case)] = "the mask is wrong"
        elif missing := set(case.warns) - set(end.warns):
            found[str(case)] = f"no {', '.join(missing)}"
    return found


def is_right(case: Case, mask: Path) -> bool:
    """Whether a mask lies where the truth does and has its bright voxels."""
    image = nib.load(mask)
    found = np.asarray(image.dataobj) != 0
    if case.truth is None:
        return bool(found.ndim == 3)
    unit = _TO_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)
    affine = np.diag([unit, unit, unit, 1]) @ image.affine
    return replace(case.truth, values=case.truth.values >= 50).agrees(found, affine)


def _row(trial: Trial, study: str) -> Case:
    return trial.alone or trial.rows[study]


def _noted(ends: dict[Case, End], notes: list[str]) -> dict[Case, End]:
    """What is said of a whole run, of its only row."""
    codes = tuple(note.partition(":")[0] for note in notes if note.startswith("W_"))
    if len(ends) > 1 or not codes:
        return ends
    return {case: replace(end, warns=end.warns + codes) for case, end in ends.items()}


def _everywhere(trial: Trial, end: End) -> dict[Case, End]:
    return dict.fromkeys(trial.rows.values(), end)


def _ended(trial: Trial, record: dict[str, Any], said: str) -> End:
    if record["state"] == "failed":
        assert not list(trial.output.glob(f"masks/{record['study']}.*"))
        return End(record["error"]["code"], said=said)
    warns = tuple(_codes(record["warnings"]))
    return End("done", warns, said, trial.output / record["mask"]["file"])


def _codes(warnings: Iterable[Any]) -> Iterable[str]:
    return (str(one["code"]) for one in warnings)


def _last_code(told: str) -> str:
    """The code that the last line begins with."""
    lines = told.strip().splitlines()
    return lines[-1].replace(":", " ").split()[0] if lines else ""
