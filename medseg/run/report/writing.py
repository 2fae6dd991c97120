"""``medseg report``: one folder of pages that opens from disk, and figures for papers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medseg.errors import InputError, PipelineError
from medseg.io import write_atomically
from medseg.metrics.statistics import RESAMPLES
from medseg.run.card import INTENDED_USE
from medseg.run.events import Note, Watch, unheard
from medseg.run.folder import inside
from medseg.run.records import versions
from medseg.run.report import results, telling
from medseg.run.report.canvas import Drawing
from medseg.run.report.gathering import Gathered, RunSaid, gathered
from medseg.run.report.markdown import markdown
from medseg.run.report.pages import page
from medseg.run.report.plots import captions, figures, shown_metrics
from medseg.run.report.study_pages import StudyPages
from medseg.run.report.viewer_files import FOLDER, LICENCE, SCRIPT, viewer_script
from medseg.run.report.words import metric_label

_PACKAGES = ("jinja2", "matplotlib")


@dataclass(frozen=True)
class ReportSummary:
    """The page to open, how many studies have pictures, and whether the viewer is there."""

    index: Path
    studies: int
    pictured: int
    viewer: bool


@dataclass(frozen=True)
class Elsewhere:
    """Where scans, references and masks lie now, if not where the run found them."""

    scans: Path | None = None
    references: Path | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    """By the name of a run, empty where there is one only."""

    def of(self, run: RunSaid) -> RunSaid:
        """The run with its files there."""
        old = run.sources
        new = replace(
            old,
            scans=self.scans or old.scans,
            references=self.references or old.references,
            predictions=self.predictions.get(run.name, old.predictions),
            readers={name: self.predictions.get(name, path) for name, path in old.readers.items()},
        )
        return replace(run, sources=new)

    def check(self, found: Gathered) -> None:
        """InputError E_NO_INPUT where masks are named of a run that is not there."""
        names = [*(run.name for run in found.runs), *found.readers]
        for name, path in self.predictions.items():
            if name not in names:
                told = " and ".join(n or "one without a name" for n in names)
                raise InputError("E_NO_INPUT", f"no run is called {name!r}; there is {told}", path)


def check_packages() -> None:
    """PipelineError E_CONFIG where what draws and writes pages is not installed."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        told = f"a report needs {' and '.join(missing)}: pip install 'medseg[report]'"
        raise PipelineError("E_CONFIG", told)


def write_report(
    output: Path, where: Elsewhere | None = None, watch: Watch = unheard
) -> ReportSummary:
    """Write ``output/report`` from what a run or an evaluation left in ``output``.

    Scans and masks are looked for where they were; a study without them has its numbers. Raises
    InputError where there is nothing to tell, PipelineError where the extra ``report`` is missing,
    OutputError where the folder cannot take the pages.
    """
    check_packages()
    found = gathered(output)
    where = where or Elsewhere()
    where.check(found)
    found = replace(found, runs=tuple(where.of(run) for run in found.runs))
    folder = inside(output, output / "report")
    viewer = viewer_script() is not None
    if viewer:
        write_atomically(folder / "viewer" / SCRIPT, (FOLDER / SCRIPT).read_bytes())
        write_atomically(folder / "viewer" / LICENCE, (FOLDER / LICENCE).read_bytes())
    else:
        watch(Note("pages have pictures alone; medseg doctor --add-viewer brings the viewer"))
    shutil.rmtree(folder / "studies", ignore_errors=True)
    thumbs = StudyPages(found, folder, viewer, watch).written()
    drawings = list(figures(found))
    for one in drawings:
        for ending, content in one.files.items():
            write_atomically(folder / "figures" / f"{one.stem}.{ending}", content)
    head = _head(found)
    text = markdown(found, head, drawings)
    write_atomically(folder / "report.md", text.encode("utf-8", "backslashreplace"))
    write_atomically(folder / "index.html", _index(found, head, drawings, thumbs))
    pictured = sum(one is not None for one in thumbs.values())
    return ReportSummary(folder / "index.html", len(found.studies), pictured, viewer)


def _head(found: Gathered) -> dict[str, Any]:
    failed = sum(
        any(r.records.get(s, {}).get("state") == "failed" for r in found.runs)
        for s in found.studies
    )
    count = len(found.studies)
    told = f"{count} {'study' if count == 1 else 'studies'}, {len(found.labels)} labels"
    names = [run.name for run in found.runs if run.name]
    versus = f", {len(names)} runs compared: {' and '.join(names)}" if names else ""
    if found.readers:
        versus = f", a model among {len(found.readers)} readers: {', '.join(found.readers)}"
    return {
        "title": " and ".join(names) if names else found.output.resolve().name,
        "summary": f"{told}{versus}{f', {failed} failed' if failed else ''}.",
        "interval": f"95 % interval of the mean, of {RESAMPLES} bootstrap means drawn by patient",
        "intended_use": INTENDED_USE,
        "provenance": _provenance(found),
    }


def _provenance(found: Gathered) -> list[tuple[str, str]]:
    rows: dict[tuple[str, str], None] = {}
    for run in found.runs:
        who = f"{run.name}: " if run.name else ""
        for record in run.records.values():
            if "pipeline" in record:
                one = record["pipeline"]
                rows[f"{who}pipeline {one['name']}, digest", one["digest"]] = None
            known: Mapping[str, str] = record.get("versions", {})
            if known:
                told = ", ".join(f"{name} {version}" for name, version in known.items())
                rows[f"{who}made by", told] = None
    rows["report by", ", ".join(f"{name} {one}" for name, one in versions().items())] = None
    return list(rows)


def _index(
    found: Gathered,
    head: Mapping[str, Any],
    drawings: Sequence[Drawing],
    thumbs: Mapping[str, dict[str, Any] | None],
) -> bytes:
    studies = [
        {
            "name": study,
            "file": found.files[study],
            "thumb": thumbs[study],
            "flags": telling.flags(found, study),
            "cells": telling.cells(found, study),
        }
        for study in found.studies
    ]
    return page(
        "index.html",
        False,
        **head,
        headings=telling.headings(found),
        runs=[run.name for run in found.runs],
        flagged=any(one["flags"] for one in studies),
        glance=results.glance(found),
        glanced=[metric_label(metric) for metric in shown_metrics(found)],
        studies=studies,
        figures=captions(drawings),
        statistics=results.statistics(found),
        differences=results.differences(found),
        agreement=results.agreement(found),
        subgroups=results.subgroups(found),
        among=results.readers(found),
        reader_pairs=results.reader_pairs(found),
        calibration=results.calibration(found),
        truth="consensus of the majority" if found.readers else "reference",
        definitions=results.definitions(found),
        several=len(found.runs) > 1,
        headline=metric_label(found.headline) if found.headline else "",
    )
