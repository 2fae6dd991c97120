"""A network that grows, between the training and its folder."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from medseg.errors import PipelineError
from medseg.inference import Slices, SlidingWindow
from medseg.models.growth import Growing
from medseg.run.events import Note, Watch
from medseg.run.folds import Split
from medseg.run.model_folder import ModelFolder
from medseg.training import Training
from medseg.training.growing import Grower
from medseg.training.growth import Grown
from medseg.training.sampling import Case, Sampler

Asking = SlidingWindow | Slices


def check_growth(recipe: Training, step: Asking, parts: Split) -> None:
    """Growth wants a network that can, and studies to decide by; PipelineError E_CONFIG."""
    if recipe.growth is None:
        return
    if not isinstance(step.model, Growing):
        told = f"training.growth wants a network that can grow, and '{step.model.name}' cannot"
        raise PipelineError("E_CONFIG", f"{told}; 'neat' can")
    if not parts.validated:
        told = "training.growth is decided by validation; give a --fold, and a training.validate"
        raise PipelineError("E_CONFIG", f"{told} above 0")


def sized(folder: ModelFolder, recipe: Training, cases: Sequence[Case]) -> ModelFolder:
    """The folder with its network sized for the patch and the median spacing of the studies."""
    step = folder.step
    if not isinstance(step.model, Growing):
        return folder
    spacings = [case.image.grid.spacing_mm for case in cases]
    spacing = [median(axis) for axis in zip(*spacings, strict=True)]
    if isinstance(step, Slices):
        del spacing[step.axes[0]]
    found = folder.of(step.model.sized(recipe.patch, spacing))
    found.begin([])
    return found


def grower(folder: ModelFolder, recipe: Training, sampler: Sampler, watch: Watch) -> Grower | None:
    """What grows the network of the folder, None where it is to stay as it is."""
    if recipe.growth is None or not isinstance(folder.step.model, Growing):
        return None
    labels, images = folder.pipeline.labels, folder.pipeline.input.channels
    channels = len(images), labels.channels

    def tell(row: Grown) -> None:
        folder.of(found.network).write_growth(found.rows)
        watch(Note(_said(row)))

    found = Grower(folder.step.model, recipe.growth, channels, sampler.batch, tell)
    return found


def _said(row: Grown) -> str:
    return (
        f"{row.operator} at {row.where}: {row.parameters:,} parameters, Dice"
        f" {row.dice_before:.4f} to {row.dice_after:.4f};"
        f" {'kept' if row.accepted else 'taken back'}"
    )
