"""What a person sees of a training: overlays, TensorBoard, and the line that moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from medseg.cli.progress import Live, left, lines_of
from medseg.errors import PipelineError
from medseg.image import Grid, Label, LabelMap, Labels, Volume
from medseg.run.board import Board
from medseg.run.events import EpochDone, StepDone
from medseg.run.overlays import overlays_png, panel
from medseg.training.history import Epoch

ONE = Labels((Label("ball", (1,)),))


def study(at: int | None) -> tuple[Volume, LabelMap, LabelMap]:
    grid = Grid(np.diag([1.0, 2.0, 5.0, 1.0]), (12, 10, 8))
    reference = np.zeros(grid.shape, np.uint8)
    if at is not None:
        reference[3:7, 3:7, at] = 1
        reference[4, 4, 1] = 1
    image = np.arange(12 * 10 * 8, dtype=np.float32).reshape(1, 12, 10, 8)
    mask = np.roll(reference, 1, 0)
    return Volume(image, grid), LabelMap(reference, grid, ONE), LabelMap(mask, grid, ONE)


def test_the_slice_with_most_of_the_reference_is_shown() -> None:
    scan, reference, mask = study(6)
    shown = panel("a", scan, reference, mask)
    assert shown.reference.sum() == 16
    assert np.array_equal(shown.image, scan.data[0, :, :, 6])
    assert shown.aspect == 2.0


def test_a_picture_is_drawn_even_of_nothing() -> None:
    panels = [panel(name, *study(at)) for name, at in (("a", 6), ("b", None))]
    assert overlays_png(panels, ONE).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("minutes", "spent", "told"),
    [(5.0, 0.25, "  15.0 min left"), (60.0, 0.2, "  4.0 h left"), (5.0, 1.2, ""),
     (1.0, 0.0, "")],
)  # fmt: skip
def test_the_time_left_is_told_by_what_the_share_so_far_took(
    minutes: float, spent: float, told: str
) -> None:
    assert left(minutes, spent) == told


def test_the_line_has_loss_dice_by_class_and_the_time_left() -> None:
    with Console(file=Path("/dev/null").open("w")).file as nowhere:
        progress = Progress(TextColumn("{task.description}"), console=Console(file=nowhere))
        live = Live(progress)
        live(EpochDone(3, 5.0, 0.25, 0.4321, 1e-3, {"ball": 0.91234, "none": None}))
        live(StepDone(0.25, 5.5, 0.275))
        shown = progress.tasks[0].description
    assert shown == "epoch 3  loss 0.250  14.5 min left  Dice  ball 0.9123"
    (line,) = lines_of(EpochDone(3, 5.0, 0.25, 0.4321, 1e-3, {"ball": 0.91234}))
    assert "loss 0.4321" in line
    assert "15.0 min left  Dice  ball 0.9123" in line


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.run.board.find_spec", lambda _: None)
    with pytest.raises(PipelineError, match=r"pip install medseg\[tensorboard\]"):
        Board(tmp_path)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path)
    for number in (1, 2):
        board.hear(Epoch(number, 1.0, 0.5 / number, 1e-3, {"ball": 0.8, "none": None}))
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [one.value for one in found.Scalars("loss")] == [0.5, 0.25]
    assert [one.step for one in found.Scalars("dice/ball")] == [1, 2]
    assert "dice/none" not in found.Tags()["scalars"]
