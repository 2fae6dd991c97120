"""A trained model is a folder: pipeline.yaml, weights.safetensors and card.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medseg.image import Stack, Study
from medseg.inference import Slices, SlidingWindow
from medseg.io import sha256_of, write_atomically
from medseg.models import Network
from medseg.models.checkpoint import weights_file
from medseg.models.growth import Growing
from medseg.pipeline import Pipeline, dump_pipeline
from medseg.run.card import described, write_card
from medseg.run.folds import Split
from medseg.run.overlays import Panel, overlays_png
from medseg.run.tables import csv_bytes
from medseg.training import Training
from medseg.training.growth import Grown, growth_csv
from medseg.training.history import Epoch, history_csv, history_png

WEIGHTS = "weights.safetensors"
_FREE: Mapping[str, Any] = {
    one.name: one.default
    for one in fields(Training)
    if one.name
    in ("patience", "validate", "validate_minutes", "validate_epochs", "checkpoint_minutes")
}
"""What of a recipe may change before a training goes on, as it is when nothing is said."""
_DEVICES = ("auto", "cpu", "cuda", "cuda:0")
"""What may stand in the digest of a checkpoint; other engines than torch have the first two."""


@dataclass(frozen=True)
class Ended:
    """How a training ended: its minutes and steps, Dice by label, and how the network grew."""

    minutes: float
    iterations: int
    dice: Mapping[str, float | None]
    grown: Sequence[Grown] = ()


@dataclass(frozen=True)
class ModelFolder:
    """What training writes beside the weights.

    ``seen_ml`` are the least and the most of each label in what is trained on; masks outside are
    flagged, unless the pipeline has a range of its own. ``device`` is what the pipeline's author
    wrote, where this machine trains on another.
    """

    path: Path
    pipeline: Pipeline
    step: SlidingWindow | Slices
    seen_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    device: str | None = None

    def _asking(self, step: SlidingWindow | Slices) -> Pipeline:
        """The pipeline with another step in place of the one that is trained."""
        steps = tuple(step if one is self.step else one for one in self.pipeline.inference)
        return replace(self.pipeline, inference=steps)

    def of(self, model: Network) -> ModelFolder:
        """The folder with another network in its pipeline: one that was sized, or has grown."""
        if model == self.step.model:
            return self
        step = replace(self.step, model=model)
        return replace(self, pipeline=self._asking(step), step=step)

    def trained(self) -> Pipeline:
        """The pipeline with the weights of this folder."""
        return self._asking(replace(self.step, weights=self.path / WEIGHTS))

    def described(self) -> Pipeline:
        """The pipeline as the folder keeps it: without the places of this machine."""
        return self._described_on(self.device or self.step.device)

    def _described_on(self, device: str) -> Pipeline:
        training = self.pipeline.training
        return replace(
            self._asking(replace(self.step, weights=Path(WEIGHTS), device=device)),
            input=replace(self.pipeline.input.unlimited, path=None, reference=None),
            output=None,
            training=training and replace(training, folds=None, start=None),
        )

    def digests(self, parts: Split) -> tuple[str, ...]:
        """What a checkpoint must agree with to be taken up: pipeline, recipe and studies.

        Budgets may change, when to validate, and the device: a run that ended can go on. All but
        the first are what earlier versions wrote, budget or device and all.
        """
        begun, studies = repr(self._begun_from()), repr(replace(parts, validated=()))
        found: list[str] = []
        for device in self._devices():
            described = self._described_on(device)
            training = described.training and replace(
                described.training, **{"max_minutes": None, "max_epochs": 1, **_FREE}
            )
            lasting = dump_pipeline(replace(described, training=training)) + studies + begun
            earlier = dump_pipeline(described) + repr(parts) + begun
            found += [_digest(lasting), _digest(earlier)]
        return tuple(found)

    def _devices(self) -> dict[str, None]:
        """The device of a checkpoint's digest, which is any, and those that earlier ones had."""
        free = self.step.engine in ("torch", "auto")
        known = _DEVICES if free else _DEVICES[:2]
        return dict.fromkeys((*known, self.device or "auto", self.step.device))

    def _begun_from(self) -> str | None:
        """The digest of the weights that training went on from, None where it began anew."""
        start = self.pipeline.training and self.pipeline.training.start
        return sha256_of(weights_file(start)) if start else None

    def begin(self, held_out: Sequence[Study]) -> None:
        """Write the pipeline, and the held-out studies as a manifest that ``run`` takes.

        What an earlier run left is taken up, and its pipeline with it: it may have grown.
        """
        if not all((self.path / name).exists() for name in ("pipeline.yaml", "checkpoint.pt")):
            self.write_pipeline()
        if not held_out:
            return
        channels = self.pipeline.input.channels
        columns = ["study", *(channels if len(channels) > 1 else ["image"]), "reference"]
        rows = [
            [study.name, *(self._from_here(p) for p in (*study.images, study.reference) if p)]
            for study in held_out
        ]
        write_atomically(self.path / "held_out.csv", csv_bytes(columns, rows))

    def write_pipeline(self) -> None:
        """Write the pipeline that fits the weights beside it."""
        said = flagging(self.described(), self.seen_ml)
        write_atomically(self.path / "pipeline.yaml", dump_pipeline(said).encode())

    def write_growth(self, rows: Sequence[Grown]) -> None:
        """Write growth.csv and growth.json: what was tried, and the structure that came of it."""
        write_atomically(self.path / "growth.csv", growth_csv(rows))
        write_atomically(self.path / "growth.json", _json(self._growth(rows)))

    def _growth(self, rows: Sequence[Grown]) -> dict[str, Any]:
        if not isinstance(self.step.model, Growing):
            return {}
        structure = json.loads(self.step.model.genotype_json())
        return {"structure": structure, "growth": [asdict(row) for row in rows]}

    def _from_here(self, path: Path | Stack) -> str:
        # A path that begins with ".." would not be taken for a formula, yet "./" keeps it plain.
        return os.path.relpath(os.path.realpath(path), self.path.resolve())

    def write_history(self, epochs: Sequence[Epoch], drawn: bool = True) -> None:
        """Write history.csv, and where matplotlib is installed its picture, if that is wanted."""
        labels = self.pipeline.labels
        write_atomically(self.path / "history.csv", history_csv(epochs, labels))
        if drawn and find_spec("matplotlib") is not None:
            write_atomically(self.path / "history.png", history_png(epochs, labels))

    def write_overlays(self, panels: Sequence[Panel]) -> None:
        """Write overlays.png where matplotlib is installed: studies of the last validation."""
        if panels and find_spec("matplotlib") is not None:
            write_atomically(self.path / "overlays.png", overlays_png(panels, self.pipeline.labels))

    def finish(self, parts: Split, data: Mapping[str, Any], ended: Ended) -> None:
        """Write the card; ``data`` is what it says of the studies that were learnt from."""
        card = {
            **described(self.described(), self.step),
            "data": data,
            **self._growth(ended.grown),
            "trained_on": len(parts.trained_on),
            "volumes_ml": {name: list(seen) for name, seen in self.seen_ml.items()},
            "held_out": list(parts.held_out),
            "validated_on": list(parts.validated),
            "validation_dice": {
                name: None if value is None else round(value, 4)
                for name, value in ended.dice.items()
            },
            "minutes": round(ended.minutes, 2),
            "iterations": ended.iterations,
            "started_from_sha256": self._begun_from(),
            "weights_sha256": sha256_of(self.path / WEIGHTS),
        }
        write_card(self.path, card)


def flagging(pipeline: Pipeline, seen_ml: Mapping[str, tuple[float, float]]) -> Pipeline:
    """A pipeline that flags volumes outside what training saw, or outside its own ranges."""
    volumes = {**seen_ml, **pipeline.quality.volumes_ml}
    return replace(pipeline, quality=replace(pipeline.quality, volumes_ml=volumes))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _json(said: Mapping[str, Any]) -> bytes:
    return (json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
