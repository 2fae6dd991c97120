"""What each fold's network says of the studies that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.image import LabelMap, Study
from medseg.inference.probabilities import Likelihood, likelihood
from medseg.io import read_labels, read_scan, sha256_of, write_atomically
from medseg.metrics import Comparison, Measure
from medseg.pipeline import Pipeline, Site, load_pipeline
from medseg.run.card import held_out_by
from medseg.run.choosing import Pair, is_cleaning
from medseg.run.events import Watch
from medseg.run.job import mask_path
from medseg.run.judging import Judge
from medseg.run.model_folder import WEIGHTS
from medseg.run.predict import predict, studies_of
from medseg.run.records import Record, read_record
from medseg.run.segment import prepared, scored
from medseg.run.site import limits_of, settled
from medseg.step import Step, through

_CALIBRATING = 20
"""Studies of a fold whose probabilities are looked at."""
LIKELIHOOD = "likelihood.json"


@dataclass(frozen=True)
class Row:
    """One measure of a held-out study."""

    fold: str
    study: str
    label: str
    metric: str
    value: float | None
    reason: str | None


@dataclass(frozen=True)
class HeldOut:
    """A fold's studies that were held out, and where their masks and records lie.

    The masks are those before the steps ``own``, which are the last of the pipeline's that only
    clean: whether they stay is for all folds together to say.
    """

    fold: str
    pipeline: Pipeline
    output: Path
    studies: tuple[Study, ...]
    own: tuple[Step, ...]

    def pairs(self) -> Iterator[Pair]:
        """Each mask beside its reference."""
        for _, mask, reference in self._read():
            yield mask, reference

    def rows(self, steps: Sequence[Step]) -> Iterator[Row]:
        """What the pipeline measures of each study after ``steps``."""
        for name, mask, reference in self._read():
            comparison = Comparison(through(steps, mask), reference)
            found: Iterator[Measure] = (m for one in self.pipeline.metrics for m in one(comparison))
            for one in found:
                yield Row(self.fold, name, one.label, one.metric, one.value, one.reason)

    def _read(self) -> Iterator[tuple[str, LabelMap, LabelMap]]:
        judge = Judge(self.pipeline, self.output)
        for study in self.studies:
            record = read_record(self.output, study.name)
            if record is None or record["state"] != "done" or study.reference is None:
                continue
            mask = judge.old_mask(mask_path(self.output, study.name), record)
            options = self.pipeline.input
            reference, _ = read_labels(study.reference, mask.labels, mask.grid, options)
            yield study.name, mask, reference

    def likelihood(self, site: Site) -> Likelihood:
        """How likely the references are by temperature, of up to 20 studies spread evenly."""
        some = self.studies[:: -(-len(self.studies) // _CALIBRATING)]
        stamp = {
            "weights_sha256": sha256_of(self.output.parent / WEIGHTS),
            "studies": [study.name for study in some],
        }
        path = self.output / LIKELIHOOD
        known = _read_json(path)
        if known is not None and known.get("asked") == stamp:
            return Likelihood(tuple(known["sums"]), known["voxels"])
        pipeline = settled(self.pipeline, site)
        found = Likelihood.total(self._likelihood(study, pipeline, site) for study in some)
        told = {"asked": stamp, "sums": found.sums, "voxels": found.voxels}
        write_atomically(path, (json.dumps(told) + "\n").encode())
        return found

    def _likelihood(self, study: Study, pipeline: Pipeline, site: Site) -> Likelihood:
        scan = read_scan(study, pipeline.input)
        image, _ = prepared(scan.volume, pipeline)
        # What a refinement makes of probabilities is its own affair.
        scores = scored(image, replace(pipeline, refine=()), limits=limits_of(site))
        assert study.reference is not None
        grid = scan.volume.grid
        reference, _ = read_labels(study.reference, pipeline.labels, grid, pipeline.input)
        return likelihood(scores, reference)


def unseen(pipeline: Pipeline, fold: str, studies: Sequence[str]) -> Pipeline:
    """The pipeline with those first stages that have not seen ``studies``, where there are such.

    A first stage that was trained on all folds has a folder of each, which held the same out.
    """
    for part in ("within", "previous"):
        stage = getattr(pipeline, part)
        if stage is not None and {*studies} <= held_out_by(stage.pipeline / fold):
            own = replace(stage, pipeline=stage.pipeline / fold)
            pipeline = replace(pipeline, **{part: own})
    return pipeline


def held_out(fold: str, place: Path, site: Site, watch: Watch) -> HeldOut:
    """Segment the studies that the model folder ``place`` has not seen."""
    trained = load_pipeline(place)
    steps = trained.postprocess
    kept = max((n for n, step in enumerate(steps, 1) if not is_cleaning(step)), default=0)
    output = place / "held_out"
    asked = replace(
        trained,
        input=replace(trained.input, path=place / "held_out.csv", reference=None),
        output=output,
        postprocess=steps[:kept],
    )
    predict(asked, site, watch=watch)
    studies = studies_of(asked).studies
    return HeldOut(fold, asked, output, tuple(studies), steps[kept:])


def _read_json(path: Path) -> Record | None:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
