"""A page for each study: slices, volumes, viewer, metrics and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.io import write_atomically
from medseg.run.card import INTENDED_USE
from medseg.run.events import StudyDone, StudyStarted, Watch
from medseg.run.report import telling
from medseg.run.report.drawing import REFERENCE, colours, drawn, thumbnail
from medseg.run.report.gathering import Gathered
from medseg.run.report.material import Files, Material, material
from medseg.run.report.pages import page
from medseg.run.report.slices import Window, chosen, framed, window_of
from medseg.run.report.viewer import volumes

_GONE = "There is no picture: the masks are not where they were, or there are none."

Picture = dict[str, Any]


@dataclass(frozen=True)
class StudyPages:
    """The pages of all studies; ``viewer`` says whether each has one."""

    found: Gathered
    folder: Path
    viewer: bool
    watch: Watch

    def written(self) -> dict[str, Picture | None]:
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

    def _page(self, study: str, shown: Material | None) -> Picture | None:
        found = self.found
        thumb, pictures, window = _pictures(shown)
        layers = volumes(shown, window) if self.viewer and shown is not None else []
        content = page(
            "study.html",
            bool(layers),
            title=study,
            study=study,
            neighbours=_neighbours(found, study),
            pictures=_by_reason(pictures),
            layers=layers,
            legend=_legend(shown),
            window=None if window is None else window.told,
            notes=shown.notes if shown is not None else (_GONE,),
            flags=telling.flags(found, study),
            runs=[run.name or ("model" if found.readers else "prediction") for run in found.runs],
            readers=found.readers,
            pairs=telling.pairs(found, study),
            sure=telling.certain(found, study),
            volumes=telling.volumes(found, study),
            measures=telling.measures(found, study),
            provenance=_of_study(found, study),
            intended_use=INTENDED_USE,
        )
        write_atomically(self.folder / "studies" / f"{found.files[study]}.html", content)
        return thumb


def _pictures(
    shown: Material | None,
) -> tuple[Picture | None, list[Picture], Window | None]:
    """The small picture, all pictures, and the window they are seen through."""
    if shown is None:
        return None, [], None
    frame, window, slices = framed(shown), window_of(shown), chosen(shown)
    pictures = [drawn(shown, one, frame, window) for one in slices]
    return thumbnail(shown, slices, frame, window), pictures, window


def _neighbours(found: Gathered, study: str) -> list[str | None]:
    """The files of the next worse and the next better study."""
    place = found.studies.index(study)
    around = (place - 1, place + 1)
    known = [found.studies[i] if 0 <= i < len(found.studies) else None for i in around]
    return [None if one is None else found.files[one] for one in known]


def _by_reason(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
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


def _legend(shown: Material | None) -> list[dict[str, str]]:
    if shown is None:
        return []
    named = colours(list(shown.outlined))
    told = [{"kind": "reference", "name": shown.reference_name, "colour": REFERENCE}]
    return [
        *(told if shown.reference is not None else []),
        *({"kind": f"run{place}", "name": name, "colour": colour}
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
