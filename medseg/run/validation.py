"""Which network a pipeline trains, and how well it does on studies that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from medseg.errors import PipelineError
from medseg.image import Study
from medseg.inference import Slices, SlidingWindow
from medseg.io import read_labels, read_scan
from medseg.metrics import Comparison, Dice
from medseg.pipeline import Pipeline
from medseg.run.events import StageStarted, Watch
from medseg.run.model_folder import ModelFolder
from medseg.run.overlays import PANELS, Panel, panel
from medseg.run.segment import segment
from medseg.training import Training

Asking = SlidingWindow | Slices
Dices = Mapping[str, float | None]


def trainable(pipeline: Pipeline) -> tuple[Training, Asking]:
    """The recipe and the one network it trains; PipelineError where there is none, or two."""
    steps = [step for step in pipeline.inference if isinstance(step, SlidingWindow | Slices)]
    if pipeline.training is None or len(steps) != 1:
        found = f"{len(steps)} networks and {'a' if pipeline.training else 'no'} recipe"
        raise PipelineError(
            "E_CONFIG",
            f"training wants a 'training:' section and one network in 'inference:', not {found}",
        )
    if len(pipeline.training.patch) != steps[0].model.spatial_dims:
        raise PipelineError(
            "E_CONFIG",
            f"training.patch has {len(pipeline.training.patch)} sides and the network"
            f" {steps[0].model.spatial_dims} dimensions",
        )
    return pipeline.training, steps[0]


def dice_of(folder: ModelFolder, studies: Sequence[Study], watch: Watch) -> Dices:
    """Mean Dice of each label over studies, through the very corridor of ``medseg run``.

    Pictures of the first few are written into the folder.
    """
    watch(StageStarted(f"validating on {len(studies)} studies"))
    pipeline = folder.trained()
    values: dict[str, list[float]] = {name: [] for name in pipeline.labels.names}
    # Weights that change every time are not worth converting or compiling, nor a choice by them.
    _, step = trainable(pipeline)
    precision = "float32" if step.precision == "auto" else step.precision
    asking = replace(step, engine="torch", precision=precision, compile=False)
    pipeline = replace(pipeline, inference=(asking,), probabilities=None)
    panels: list[Panel] = []
    for study in studies:
        scan = read_scan(study, pipeline.input).volume
        assert study.reference is not None
        mask = segment(scan, pipeline).mask
        reference, _ = read_labels(study.reference, mask.labels, scan.grid, pipeline.input)
        if len(panels) < PANELS:
            panels.append(panel(study.name, scan, reference, mask))
        for measure in Dice()(Comparison(mask, reference)):
            if measure.value is not None and measure.label in values:
                values[measure.label].append(measure.value)
    folder.write_overlays(panels)
    return {name: fmean(found) if found else None for name, found in values.items()}
