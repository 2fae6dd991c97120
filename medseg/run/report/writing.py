"""``medseg report``: one folder of pages that opens from disk, and figures for papers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medseg.errors import PipelineError
from medseg.io import write_atomically
from medseg.metrics.statistics import RESAMPLES
from medseg.run.events import Note, StudyDone, StudyStarted, Watch, unheard
from medseg.run.folder import inside
from medseg.run.model_folder import INTENDED_USE
from medseg.run.records import versions
from medseg.run.report import telling
from medseg.run.report.drawing import REFERENCE, colours, drawn, thumbnail
from medseg.run.report.gathering import Gathered, RunSaid, gathered
from medseg.run.report.markdown import markdown
from medseg.run.report.material import Files, Material, material
from medseg.run.report.pages import page
from medseg.run.report.plots import Drawing, captions, figures, shown_metrics
from medseg.run.report.slices import chosen, framed, window_of
from medseg.run.report.viewer import volumes
from medseg.run.report.viewer_files import FOLDER, LICENCE, SCRIPT, viewer_script
from medseg.run.report.words import intensity, metric_label

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
    predictions: Path | None = None

    def of(self, run: RunSaid) -> RunSaid:
        """The run with its files there."""
        known = {k: v for k, v in vars(self).items() if v is not None}
        return replace(run, sources=replace(run.sources, **known))


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
    found = replace(found, runs=tuple((where or Elsewhere()).of(run) for run in found.runs))
    folder = inside(output, output / "report")
    viewer = viewer_script() is not None
    if viewer:
        write_atomically(folder / "viewer" / SCRIPT, (FOLDER / SCRIPT).read_bytes())
        write_atomically(folder / "viewer" / LICENCE, (FOLDER / LICENCE).read_bytes())
    else:
        watch(Note("pages have pictures alone; medseg doctor --add-viewer brings the viewer"))
    shutil.rmtree(folder / "studies", ignore_errors=True)
    thumbs = _Studies(found, folder, viewer, watch).written()
    drawings = list(figures(found))
    for one in drawings:
        for ending, content in one.files.items():
            write_atomically(folder / "figures" / f"{one.stem}.{ending}", content)
    head = _head(found)
    write_atomically(folder / "report.md", markdown(found, head, drawings).encode())
    write_atomically(folder / "index.html", _index(found, head, drawings, thumbs))
    pictured = sum(one is not None for one in thumbs.values())
    return ReportSummary(folder / "index.html", len(found.studies), pictured, viewer)


@dataclass(frozen=True)
class _Studies:
    """The pages of studies."""

    found: Gathered
    folder: Path
    viewer: bool
    watch: Watch

    def written(self) -> dict[str, dict[str, Any] | None]:
        """Write them all; the small picture of each."""
        files = {run.name: Files(run) for run in self.found.runs}
        thumbs = {}
        total = len(self.found.studies)
        for place, study in enumerate(self.found.studies, 1):
            self.watch(StudyStarted(study, place, total))
            shown = material(study, files)
            thumbs[study] = self._page(study, shown)
            self.watch(StudyDone(study, "done", 0.0))
        return thumbs

    def _page(self, study: str, shown: Material | None) -> dict[str, Any] | None:
        found, thumb = self.found, None
        pictures: list[dict[str, Any]] = []
        layers: list[dict[str, Any]] = []
        window = None
        if shown is not None:
            frame, window, slices = framed(shown), window_of(shown), chosen(shown)
            pictures = [drawn(shown, one, frame, window) for one in slices]
            layers = volumes(shown, window) if self.viewer else []
            thumb = thumbnail(shown, slices, frame, window)
        place = found.studies.index(study)
        around = [found.studies[i] if 0 <= i < len(found.studies) else None
                  for i in (place - 1, place + 1)]  # fmt: skip
        content = page(
            "study.html",
            bool(layers),
            title=study,
            study=study,
            neighbours=[one and {"name": one, "file": found.files[one]} for one in around],
            pictures=_by_reason(pictures),
            layers=layers,
            legend=_legend(found, shown),
            window=window and (intensity(window.low), intensity(window.high), window.how),
            notes=shown.notes if shown is not None else (_GONE,),
            flags=telling.flags(found, study),
            runs=[run.name or "prediction" for run in found.runs],
            volumes=telling.volumes(found, study),
            measures=telling.measures(found, study),
            provenance=_of_study(found, study),
            intended_use=INTENDED_USE,
        )
        write_atomically(self.folder / "studies" / f"{found.files[study]}.html", content)
        return thumb


_GONE = "There is no picture: the masks are not where they were, or there are none."


def _by_reason(pictures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pictures in rows: the worst slices, the largest, the middle ones."""
    told = {
        "worst": "Worst: most voxels that differ from the reference",
        "largest": "Largest: most of the structures",
        "middle": "Middle of the structures",
    }
    rows = [
        {"why": sentence, "pictures": [one for one in pictures if one["why"] == why]}
        for why, sentence in told.items()
    ]
    return [row for row in rows if row["pictures"]]


def _legend(found: Gathered, shown: Material | None) -> list[dict[str, str]]:
    if shown is None:
        return []
    named = colours(list(shown.masks))
    told = [{"kind": "reference", "name": "reference", "colour": REFERENCE}]
    return [
        *(told if shown.reference is not None else []),
        *({"kind": f"run{place}", "name": name or "prediction", "colour": colour}
          for place, (name, colour) in enumerate(named.items())),
    ]  # fmt: skip


def _of_study(found: Gathered, study: str) -> list[tuple[str, str]]:
    rows: dict[tuple[str, str], None] = {}
    for run in found.runs:
        record = run.records.get(study, {})
        who = f"{run.name}: " if run.name else ""
        if "pipeline" in record:
            pipeline = record["pipeline"]
            rows[f"{who}pipeline", f"{pipeline['name']} {pipeline['digest']}"] = None
        if "mask" in record:
            rows[f"{who}mask, SHA-256", record["mask"]["sha256"]] = None
        for file, sha in record.get("inputs", {}).items():
            rows[f"{file}, SHA-256", sha] = None
    return list(rows)


def _head(found: Gathered) -> dict[str, Any]:
    failed = sum(
        any(r.records.get(s, {}).get("state") == "failed" for r in found.runs)
        for s in found.studies
    )
    count = len(found.studies)
    told = f"{count} {'study' if count == 1 else 'studies'}, {len(found.labels)} labels"
    names = [run.name for run in found.runs if run.name]
    versus = f", {len(names)} runs compared: {' and '.join(names)}" if names else ""
    return {
        "title": " and ".join(names) if names else found.output.resolve().name,
        "summary": f"{told}{versus}{f', {failed} failed' if failed else ''}.",
        "interval": f"95 % of {RESAMPLES} bootstrap means, drawn by patient",
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
        glance=telling.glance(found),
        glanced=[metric_label(metric) for metric in shown_metrics(found)],
        studies=studies,
        figures=captions(drawings),
        statistics=telling.statistics(found),
        differences=telling.differences(found),
        agreement=telling.agreement(found),
        definitions=telling.definitions(found),
        several=len(found.runs) > 1,
        headline=metric_label(found.headline) if found.headline else "",
    )
