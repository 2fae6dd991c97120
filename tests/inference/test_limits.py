"""Work is put where it fits, and what it will take is known before it begins."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.asking import TWO, Pointwise, saved, scan
from torch import nn

from medseg.errors import StudyError
from medseg.image import Grid
from medseg.inference import Limits, Slices, SlidingWindow
from medseg.inference.foresight import window_bytes
from medseg.inference.limits import GIB, Need, Placement, placed
from medseg.inference.transfer import answered
from medseg.models import MODELS, DynUNet

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
NEED = Need(image=1 * GIB, held=6 * GIB, window=1 * GIB)


def on_a_gpu_with(free_gib: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_gib * GIB, 80 * GIB))


@pytest.mark.parametrize(
    ("free_gib", "rung"),
    [
        (80.0, Placement(GPU, GPU, 8)),
        (15.0, Placement(GPU, GPU, 4)),
        (12.5, Placement(GPU, GPU, 2)),
        (9.5, Placement(GPU, GPU, 1)),
        (8.5, Placement(GPU, CPU, 1)),
        (1.3, None),
    ],
)
def test_the_first_rung_that_fits_what_is_free_is_taken(
    free_gib: float, rung: Placement | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_gpu_with(free_gib, monkeypatch)
    assert placed(GPU, 8, NEED, Limits()) == rung


def test_a_limit_below_what_is_free_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu_with(80.0, monkeypatch)
    assert placed(GPU, 1, NEED, Limits(vram_gib=4)) == Placement(GPU, CPU, 1)
    assert placed(GPU, 1, NEED, Limits(vram_gib=1)) is None
    assert placed(GPU, 1, NEED, Limits(vram_gib=1, allow_cpu=True)) == Placement(CPU, CPU, 1)


def test_a_ladder_ends() -> None:
    rung: Placement | None = Placement(GPU, GPU, 5)
    seen = []
    while rung is not None:
        seen.append(rung)
        rung = rung.smaller(allow_cpu=True)
    assert seen[1:] == [
        Placement(GPU, GPU, 2),
        Placement(GPU, GPU, 1),
        Placement(GPU, CPU, 1),
        Placement(CPU, CPU, 1),
    ]


class Scarce(nn.Module):
    """Answers voxel by voxel, and runs out of memory where more windows are asked than ``most``."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most, self.asked = inner, most, 0

    def forward(self, windows: Any) -> Any:
        self.asked += 1
        if len(windows) > self.most and self.asked > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(windows)


def scarce(step: SlidingWindow, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the step's network memory for ``most`` windows at a time, from its third batch on."""
    module = Scarce(step._filled(1, TWO, CPU).module, most)
    found = step._filled(1, TWO, CPU)._replace(module=module)
    monkeypatch.setattr(type(step), "_filled", lambda *_: found)


def test_fewer_windows_are_asked_where_memory_runs_out_and_the_mask_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Pointwise()
    step = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(6, 6, 6), batch=8, device="cpu"
    )
    volume = scan(30, 20, 21)
    whole, _ = step.decided_on(volume, TWO, volume.grid)
    scarce(step, 2, monkeypatch)
    mask, cautions = step.decided_on(volume, TWO, volume.grid)
    assert np.array_equal(mask.data, whole.data)
    assert [caution.code for caution in cautions] == ["W_FALLBACK", "W_FALLBACK"]
    assert "with 8 windows at a time on cpu; done with 4 windows" in cautions[0].message


def test_a_study_that_no_rung_can_take_is_refused_and_the_next_is_not_harmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Pointwise()
    step = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(6, 6, 6), batch=2, device="cpu"
    )
    volume = scan(12, 12, 12)
    with monkeypatch.context() as patch:
        scarce(step, 0, patch)
        with pytest.raises(StudyError, match="E_GPU_MEMORY"):
            step(volume, TWO)
    assert step(volume, TWO).cautions == ()


def test_nothing_is_tried_again_where_every_bit_was_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Pointwise()
    step = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(6, 6, 6), batch=8, device="cpu"
    )
    scarce(step, 2, monkeypatch)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    with pytest.raises(StudyError, match="E_GPU_MEMORY"):
        step(scan(30, 20, 21), TWO)


def test_answers_from_another_device_keep_their_order() -> None:
    batches = [torch.full((2, 1, 3, 3, 3), float(n)) for n in range(5)]

    def doubled(windows: torch.Tensor) -> torch.Tensor:
        return torch.ones(windows.shape) * 2

    # Tensors without voxels stand for those of another device.
    said = list(answered(batches, doubled, torch.device("meta")))
    assert [tuple(one.shape) for one in said] == [(2, 1, 3, 3, 3)] * 5
    here = list(answered(batches, lambda windows: windows * 2, CPU))
    assert [float(one.mean()) for one in here] == [0, 2, 4, 6, 8]


sides = st.integers(1, 40)


@settings(deadline=None, max_examples=40)
@given(shape=st.tuples(sides, sides, sides), window=st.tuples(sides, sides, sides))
def test_the_axis_walked_along_is_the_one_that_holds_least(
    shape: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    step = SlidingWindow(model=Pointwise(), window=window)
    held = [step._ring_floats(shape, axis) for axis in range(3)]
    first, *others = step.order(shape)
    assert held[first] == min(held)
    assert sorted([first, *others]) == [0, 1, 2]


def test_slices_are_walked_through_one_by_one() -> None:
    step = Slices(model=Pointwise(spatial_dims=2), window=(32, 32), axes=(2,))
    assert step.order((512, 512, 300))[0] == 2
    assert step._ring_floats((512, 512, 300), 2) == 512 * 512


@pytest.mark.parametrize("shape", [(9, 20, 21), (20, 9, 21), (21, 20, 9)])
def test_whichever_axis_is_walked_along_the_mask_is_that_of_the_whole(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    network = DynUNet(widths=(4, 8, 8), norm="instance")
    step = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(8, 12, 6), batch=2, mirror=(1,)
    )
    volume = scan(*shape)
    grid = volume.grid.spaced((0.7, 0.8, 1.3)).oriented("PIL")
    mask, _ = step.decided_on(volume, TWO, grid)
    whole = step(volume, TWO)
    assert step.order(shape)[0] == int(np.argmax(np.array(shape) / (8, 12, 6)))
    near = torch.topk(whole.data, 2, dim=0).values
    assert (near[0] - near[1]).min() > 1e-6  # adding up in another order decides nothing here
    assert np.array_equal(mask.data, whole.decided_on(grid).data)


def test_what_one_window_needs_is_foreseen() -> None:
    # One convolution: the window, the logits, and nothing else.
    assert window_bytes(Pointwise(), (1, 3), (16, 16, 16)) == (1 + 3) * 16**3 * 4
    wide = MODELS["unet"](spatial_dims=2, widths=(8, 16), deep_supervision=0)
    small, large = (window_bytes(wide, (1, 2), (side, side)) for side in (32, 64))
    assert large == 4 * small
    gc.collect()
    assert window_bytes.__wrapped__(wide, (1, 2), (64, 64)) == large


def test_the_need_grows_with_labels_and_not_with_the_length_walked_along() -> None:
    step = SlidingWindow(model=Pointwise(), window=(32, 32, 32))
    short, long = (Grid(np.eye(4), (64, 64, n)) for n in (3000, 6000))
    assert step.need(1, short, TWO).held == step.need(1, long, TWO).held
    slim = replace(step, window=(32, 32, 16))
    assert slim.need(1, long, TWO).held < step.need(1, long, TWO).held
