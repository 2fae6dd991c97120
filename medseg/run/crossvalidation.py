"""``medseg train --fold all``: every fold in turn, what all of them found, and their ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medseg.errors import PipelineError
from medseg.inference import Slices, SlidingWindow
from medseg.inference.probabilities import Likelihood
from medseg.io import sha256_of, write_atomically
from medseg.io.layouts_files import id_of
from medseg.metrics.statistics import RESAMPLES, describe
from medseg.pipeline import Calibration, Pipeline, Site, dump_pipeline, load_pipeline
from medseg.run.audit import Audit
from medseg.run.card import data_of, described, first_stages, write_card
from medseg.run.cases import sound
from medseg.run.choosing import Choice, Pair, chosen
from medseg.run.events import Note, StageStarted, Watch, unheard
from medseg.run.folder import held
from medseg.run.folds import Roll, Split, folds_of, roll, split
from medseg.run.held_out import HeldOut, Row, held_out, unseen
from medseg.run.model_folder import WEIGHTS, ModelFolder, flagging
from medseg.run.site import bounded
from medseg.run.statistics import write_json
from medseg.run.tables import csv_bytes
from medseg.run.train import Options, TrainSummary, train
from medseg.run.validation import trainable
from medseg.step import Step
from medseg.training.team import team_size

Measures = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By label and metric: how many studies and patients, mean, median, SD, interval of the mean."""


@dataclass(frozen=True)
class FoldsSummary:
    """The ensemble's folder, each fold's training, and what was measured on held-out studies.

    ``pooled`` is over all folds, after the post-processing that was ``chosen``.
    """

    model: Path
    folds: Mapping[str, TrainSummary]
    pooled: Measures
    chosen: Choice
    temperature: float


def train_folds(
    pipeline: Pipeline,
    model: Path,
    site: Site | None = None,
    *,
    options: Options | None = None,
    watch: Watch = unheard,
) -> FoldsSummary:
    """Train a model for every fold, segment what each held out, and write the ensemble.

    ``model`` becomes a folder that ``medseg run`` takes, with a folder of each fold in it, and
    cross_validation.csv and .json. What was held out chooses the post-processing and the
    temperature of probabilities. A budget is that of one fold. Folds that are finished are
    not trained again. Raises what ``train`` does.
    """
    if team_size() > 1:
        told = "torchrun trains one fold at a time: give --fold a name, not 'all'"
        raise PipelineError("E_CONFIG", told)
    site = site or Site()
    with held(model):
        found = sound(bounded(pipeline, site), model, True, watch)
        run = _Folds(pipeline, model, site, found, watch)
        done = run.trained(options or Options())
        outs = [held_out(fold, run.places[fold], site, watch) for fold in done]
        return run.finished(done, outs)


@dataclass(frozen=True)
class _Folds:
    pipeline: Pipeline
    model: Path
    site: Site
    found: Audit
    watch: Watch

    @property
    def _roll(self) -> Roll:
        recipe, _ = trainable(self.pipeline)
        return roll(self.found.studies, recipe, self.found.values)

    @property
    def places(self) -> dict[str, Path]:
        """The folder of each fold."""
        folds = folds_of(self._roll, trainable(self.pipeline)[0])
        return {fold: self.model / id_of(f"fold_{fold}") for fold in folds}

    @property
    def _parts(self) -> dict[str, Split]:
        """Every fold's studies; raises where any fold has none."""
        recipe, _ = trainable(self.pipeline)
        known = self._roll
        return {fold: split(known, recipe, fold) for fold in folds_of(known, recipe)}

    def trained(self, options: Options) -> dict[str, TrainSummary]:
        """Every fold, trained, once it is sure that all of them can be."""
        shared, places, parts = replace(options, shared=self.model), self.places, self._parts
        done: dict[str, TrainSummary] = {}
        for fold, place in places.items():
            self.watch(Note(f"fold {fold}, {len(done) + 1} of {len(places)}"))
            own = unseen(self.pipeline, place.name, parts[fold].held_out)
            done[fold] = train(own, place, self.site, fold=fold, options=shared, watch=self.watch)
        return done

    def finished(self, done: dict[str, TrainSummary], outs: Sequence[HeldOut]) -> FoldsSummary:
        """Choose, measure and write, from what was held out."""
        choice, likelihood = self._choice(outs), self._likelihood(outs)
        rows = [row for one in outs for row in one.rows(choice.steps)]
        pooled = self._described(rows)
        sure = _calibration(likelihood)
        said = {
            "interval": f"95 % of {RESAMPLES} bootstrap means, drawn by patient",
            "pooled": pooled,
            "folds": {
                one.fold: self._described([row for row in rows if row.fold == one.fold])
                for one in outs
            },
            "postprocess": {"why": choice.why, "without": choice.before, "with": choice.after},
            "calibration": sure,
        }
        columns = ["fold", "study", "label", "metric", "value", "reason"]
        cells = [(r.fold, r.study, r.label, r.metric, r.value, r.reason) for r in rows]
        write_atomically(self.model / "cross_validation.csv", csv_bytes(columns, cells))
        write_json(self.model / "cross_validation.json", said)
        steps = (*outs[0].pipeline.postprocess, *choice.steps) if outs else ()
        self._write_ensemble(steps, choice, sure)
        self._write_card(said)
        return FoldsSummary(self.model, done, pooled, choice, likelihood.temperature)

    def _choice(self, outs: Sequence[HeldOut]) -> Choice:
        def pairs() -> Iterator[Pair]:
            for one in outs:
                yield from one.pairs()

        self.watch(StageStarted("choosing post-processing by what was held out"))
        choice = chosen(pairs, self.pipeline.labels, outs[0].own if outs else ())
        if choice.dropped:
            self.watch(Note("the pipeline's post-processing lowers the Dice and is left out"))
        return choice

    def _likelihood(self, outs: Sequence[HeldOut]) -> Likelihood:
        self.watch(StageStarted("calibrating by what was held out"))
        return Likelihood.total(one.likelihood(self.site) for one in outs)

    def _described(self, rows: Sequence[Row]) -> Measures:
        """Means with intervals, patients being the groups of the folds."""
        groups = self._roll.groups
        values: dict[str, dict[str, dict[str, float]]] = {}
        for row in rows:
            if row.value is not None:
                values.setdefault(row.label, {}).setdefault(row.metric, {})[row.study] = row.value

        def told(found: Mapping[str, float]) -> dict[str, Any]:
            patients = [groups.get(study, study) for study in found]
            return asdict(describe([*found.values()], patients))

        return {
            label: {metric: told(found) for metric, found in metrics.items()}
            for label, metrics in values.items()
        }

    def _write_ensemble(
        self, steps: tuple[Step, ...], choice: Choice, sure: Mapping[str, Any]
    ) -> None:
        """The pipeline with every fold's network, averaged; trained it cannot be as one."""
        _, step = trainable(self.pipeline)
        bare = ModelFolder(self.model, self.pipeline, step).described()
        networks: list[Step] = []
        for place in self.places.values():
            # A network may have grown, so each fold says itself what it has.
            own = load_pipeline(place).inference
            first = next(one for one in own if isinstance(one, SlidingWindow | Slices))
            networks.append(replace(first, weights=Path(place.name) / WEIGHTS))
        whole = replace(
            bare,
            inference=tuple(networks),
            calibration=Calibration(sure["temperature"]),
            postprocess=steps,
            training=None,
        )
        text = _with_reasons(dump_pipeline(flagging(whole, self._seen_ml)), choice, sure)
        write_atomically(self.model / "pipeline.yaml", text.encode())

    @property
    def _seen_ml(self) -> dict[str, tuple[float, float]]:
        """The least and the most of each label in what any fold trained on."""
        seen: dict[str, tuple[float, float]] = {}
        for place in self.places.values():
            for name, (low, high) in load_pipeline(place).quality.volumes_ml.items():
                least, most = seen.get(name, (low, high))
                seen[name] = (min(low, least), max(high, most))
        return seen

    @property
    def _knowing_stages(self) -> dict[str, list[str]]:
        """First stages that may have learnt from what a fold held out, with what they did not."""
        return {
            name: studies
            for fold, part in self._parts.items()
            for name, studies in first_stages(load_pipeline(self.places[fold])).items()
            if not {*part.held_out} <= {*studies}
        }

    def _write_card(self, said: Mapping[str, Any]) -> None:
        _, step = trainable(self.pipeline)
        places = self.places
        card = {
            **described(ModelFolder(self.model, self.pipeline, step).described(), step),
            "data": data_of(self.pipeline, self.found.studies, self.found.values),
            "first_stages": self._knowing_stages,
            "folds": {fold: place.name for fold, place in places.items()},
            "volumes_ml": {name: list(volumes) for name, volumes in self._seen_ml.items()},
            "cross_validation": said["pooled"],
            "postprocess": said["postprocess"],
            "calibration": said["calibration"],
            "weights_sha256": {fold: sha256_of(place / WEIGHTS) for fold, place in places.items()},
        }
        write_card(self.model, card)


def _calibration(found: Likelihood) -> dict[str, Any]:
    best = found.temperature
    return {
        "temperature": best,
        "nll": found.mean_at(best),
        "nll_without": found.mean_at(1.0),
        "voxels": found.voxels,
    }


def _with_reasons(text: str, choice: Choice, sure: Mapping[str, Any]) -> str:
    """The pipeline's text with a comment above what was chosen."""
    told = {
        "postprocess:": choice.why,
        "calibration:": "Fitted to held-out voxels: their negative log-likelihood is"
        f" {sure['nll']:.5f} with it and {sure['nll_without']:.5f} without.",
    }
    lines = []
    for line in text.splitlines():
        lines += [f"# {why}" for key, why in told.items() if line.startswith(key)]
        lines.append(line)
    return "\n".join(lines) + "\n"
