"""A training's history for TensorBoard."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from medseg.errors import PipelineError
from medseg.training.history import Epoch


class Board:
    """Writes loss, learning rate and Dice into ``folder/tensorboard``.

    Raises PipelineError E_CONFIG where the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            told = "--tensorboard needs the package tensorboard: pip install medseg[tensorboard]"
            raise PipelineError("E_CONFIG", told)
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def hear(self, epoch: Epoch) -> None:
        """Write one epoch."""
        said = {"loss": epoch.loss, "learning_rate": epoch.learning_rate}
        said |= {f"dice/{name}": value for name, value in epoch.dice.items() if value is not None}
        for name, value in said.items():
            self._writer.add_scalar(name, value, epoch.epoch)
        self._writer.flush()
