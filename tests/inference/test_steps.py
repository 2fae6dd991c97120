"""Steps that ask a network, and the one that asks none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
import torch
from support.asking import ONE, REGIONS, TWO, Pointwise, saved, scan

from medseg.errors import ModelError, PipelineError, StudyError
from medseg.image import Grid, Labels, Volume
from medseg.inference import Slices, SlidingWindow, Threshold
from medseg.models import DynUNet
from medseg.models.device import device_named
from medseg.models.weights import weights_bytes


def expected(volume: Volume, labels: Labels) -> torch.Tensor:
    logits = torch.from_numpy(volume.data) * (
        torch.arange(labels.channels).reshape(-1, 1, 1, 1) - 1.0
    )
    return logits.softmax(0) if labels.exclusive else logits.sigmoid()


@pytest.mark.parametrize("labels", [TWO, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 3), (13, 1, 7), (40, 2, 2), (11, 13, 17)])
@pytest.mark.parametrize("blending", ["gaussian", "constant"])
def test_windows_of_any_volume_give_each_voxels_own_probabilities(
    tmp_path: Path, shape: tuple[int, int, int], labels: Labels, blending: Any
) -> None:
    network = Pointwise()
    step = SlidingWindow(
        model=network,
        weights=saved(network, tmp_path, labels),
        window=(8, 8, 8),
        blending=blending,
        mirror=(0, 2),
        batch=3,
    )
    volume = scan(*shape)
    scores = step(volume, labels)
    assert torch.allclose(scores.data, expected(volume, labels), atol=1e-5)
    assert scores.grid == volume.grid
    assert scores.cautions == ()


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("mirror", [(), (0, 1, 2)])
def test_slices_along_any_axis_give_each_voxels_own_probabilities(
    tmp_path: Path, axes: Any, mirror: Any
) -> None:
    network = Pointwise(spatial_dims=2)
    step = Slices(
        model=network, weights=saved(network, tmp_path), window=(6, 5), axes=axes, mirror=mirror
    )
    volume = scan(9, 7, 4)
    assert torch.allclose(step(volume, TWO).data, expected(volume, TWO), atol=1e-5)


def test_slices_see_nothing_of_their_neighbours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = DynUNet(spatial_dims=2, widths=(4, 6, 8))
    step = Slices(model=network, weights=saved(network, tmp_path), window=(8, 8), axes=(1,))
    volume = scan(8, 5, 8)
    changed = volume.data.copy()
    changed[:, :, 3] += 5
    apart = (step(volume, TWO).data - step(Volume(changed, volume.grid), TWO).data).abs()
    assert apart[:, :, 3].max() > 1e-3
    assert apart[:, :, [0, 1, 2, 4]].max() == 0


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = DynUNet(widths=(4, 6, 8))
    step = SlidingWindow(model=network, weights=saved(network, tmp_path), window=(8, 8, 8))
    half = replace(step, precision="bfloat16")
    volume = scan(12, 12, 12)
    apart = (step(volume, TWO).data - half(volume, TWO).data).abs()
    assert 0 < apart.max() < 0.1


def test_an_overflow_is_done_again_in_float32_and_told(tmp_path: Path) -> None:
    network = Pointwise(shift=1e5)
    step = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(4, 4, 4), precision="float16"
    )
    scores = step(scan(4, 4, 4), TWO)
    assert scores.data.isfinite().all()
    assert [caution.code for caution in scores.cautions] == ["W_FALLBACK"]


@pytest.mark.parametrize("shape", [(13, 9, 7), (4, 30, 5), (3, 3, 3)])
@pytest.mark.parametrize(
    "step",
    [
        {"window": (6, 5, 4)},
        {"window": (6, 5, 4), "mirror": (0, 2), "batch": 3, "blending": "constant"},
        {"window": (5, 4), "axes": (2,)},
        {"window": (5, 4), "axes": (0, 1, 2), "mirror": (1,)},
    ],
)
def test_a_mask_painted_while_the_network_is_asked_is_the_very_mask_of_the_whole(
    tmp_path: Path, shape: tuple[int, int, int], step: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    flat = "axes" in step
    network = DynUNet(spatial_dims=2 if flat else 3, widths=(4, 6, 8))
    asked = (Slices if flat else SlidingWindow)(
        model=network, weights=saved(network, tmp_path), **step
    )
    volume = scan(*shape)
    for grid in (volume.grid, volume.grid.spaced((0.7, 0.6, 1.5)).oriented("ASL")):
        mask, cautions = asked.decided_on(volume, TWO, grid)
        assert np.array_equal(mask.data, asked(volume, TWO).decided_on(grid).data)
        assert mask.grid == grid
        assert cautions == ()
    assert mask.data.any()


def test_an_overflow_while_painting_begins_anew_in_float32(tmp_path: Path) -> None:
    network = Pointwise(shift=1e5)
    half = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(4, 4, 4), precision="float16"
    )
    volume = scan(9, 4, 4)
    mask, cautions = half.decided_on(volume, TWO, volume.grid)
    assert [caution.code for caution in cautions] == ["W_FALLBACK"]
    full, _ = replace(half, precision="float32").decided_on(volume, TWO, volume.grid)
    assert np.array_equal(mask.data, full.data)


def test_logits_that_are_never_finite_fail_the_study(tmp_path: Path) -> None:
    network = Pointwise(shift=3e38)
    step = SlidingWindow(model=network, weights=saved(network, tmp_path), window=(4, 4, 4))
    huge = Volume(np.full((1, 4, 4, 4), 3e38, np.float32), Grid(np.eye(4), (4, 4, 4)))
    with pytest.raises(StudyError, match="E_NONFINITE_OUTPUT"):
        step(huge, TWO)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "E_GPU_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "E_MEMORY"),
    ],
)
def test_memory_that_runs_out_fails_the_study_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str
) -> None:
    network = Pointwise()
    step = SlidingWindow(model=network, weights=saved(network, tmp_path), window=(4, 4, 4))

    def run_out(*_: object) -> None:
        raise raised

    monkeypatch.setattr(SlidingWindow, "_logits", run_out)
    with pytest.raises(StudyError, match=code):
        step(scan(4, 4, 4), TWO)


def test_another_runtime_error_is_a_bug_and_flies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Pointwise()
    step = SlidingWindow(model=network, weights=saved(network, tmp_path), window=(4, 4, 4))

    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(SlidingWindow, "_logits", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        step(scan(4, 4, 4), TWO)


def test_weights_that_changed_on_disk_are_loaded_again(tmp_path: Path) -> None:
    network = Pointwise()
    path = saved(network, tmp_path)
    step = SlidingWindow(model=network, weights=path, window=(4, 4, 4))
    volume = scan(4, 4, 4)
    first = step(volume, TWO).data
    state = network(1, 3).state_dict()
    path.write_bytes(weights_bytes({key: -value for key, value in state.items()}))
    os.utime(path, ns=(1, 1))
    assert not torch.allclose(step(volume, TWO).data, first)


def test_weights_of_the_same_second_and_size_are_loaded_again(tmp_path: Path) -> None:
    """As a model folder that is copied over another with its times kept."""
    network, volume = Pointwise(), scan(4, 4, 4)
    path = saved(network, tmp_path)
    os.utime(path, ns=(5, 5))
    step = SlidingWindow(model=network, weights=path, window=(4, 4, 4))
    first = step(volume, TWO).data
    other = tmp_path / "other"
    state = network(1, 3).state_dict()
    other.write_bytes(weights_bytes({key: -value for key, value in state.items()}))
    os.utime(other, ns=(5, 5))
    other.replace(path)
    assert not torch.allclose(step(volume, TWO).data, first)


@pytest.mark.parametrize("how", ["read-only", "backwards", "Fortran"])
def test_an_image_may_lie_in_memory_as_it_likes(tmp_path: Path, how: str) -> None:
    network, volume = Pointwise(), scan(4, 5, 6)
    step = SlidingWindow(model=network, weights=saved(network, tmp_path), window=(4, 4, 4))
    data = volume.data.copy()
    if how == "read-only":
        data.flags.writeable = False
    else:
        data = data[:, ::-1].copy()[:, ::-1] if how == "backwards" else np.asfortranarray(data)
    scores = step(Volume(data, volume.grid), TWO)
    assert torch.equal(scores.data, step(volume, TWO).data)
    assert np.array_equal(data, volume.data)


@pytest.mark.parametrize("weights", [None, Path("nowhere.safetensors")])
def test_a_network_without_weights_says_what_to_do(weights: Path | None) -> None:
    step = SlidingWindow(model=Pointwise(), weights=weights, window=(4, 4, 4))
    with pytest.raises(ModelError, match="train"):
        step(scan(4, 4, 4), TWO)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SlidingWindow(model=Pointwise(), window=(0, 4, 4)), "window"),
        (lambda: SlidingWindow(model=Pointwise(spatial_dims=2), window=(4, 4, 4)), "'slices'"),
        (lambda: SlidingWindow(model=Pointwise(), window=(4, 4, 4), overlap=1.0), "overlap"),
        (lambda: SlidingWindow(model=Pointwise(), window=(4, 4, 4), batch=0), "batch"),
        (lambda: SlidingWindow(model=Pointwise(), window=(4, 4, 4), mirror=(1, 1)), "mirror"),
        (lambda: Slices(model=Pointwise(), window=(4, 4)), "'sliding_window'"),
        (lambda: Slices(model=Pointwise(spatial_dims=2), window=(0, 4)), "window"),
        (lambda: Slices(model=Pointwise(spatial_dims=2), window=(4, 4), axes=()), "axes"),
        (Threshold, "needs minimum, maximum"),
        (lambda: Threshold(minimum=2, maximum=1), "above maximum"),
        (lambda: Threshold(minimum=2, method="otsu"), "finds the minimum itself"),
        (lambda: Threshold(minimum=2, channel=-1), "counts from 0"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_a_threshold_takes_a_range_with_its_ends() -> None:
    data = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
    volume = Volume(data, Grid(np.eye(4), (8, 1, 1)))
    mask = Threshold(minimum=2, maximum=5)(volume, ONE).decided_on(volume.grid)
    assert mask.data.ravel().tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    below = Threshold(maximum=1)(volume, ONE).decided_on(volume.grid)
    assert below.data.ravel().tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_otsu_parts_two_heaps() -> None:
    chance = np.random.default_rng(0)
    heap = np.r_[chance.normal(0, 1, 500), chance.normal(100, 1, 500)].astype(np.float32)
    volume = Volume(heap.reshape(1, 10, 10, 10), Grid(np.eye(4), (10, 10, 10)))
    mask = Threshold(method="otsu")(volume, ONE).decided_on(volume.grid)
    # Otsu works on a histogram, so a voxel in the border's own bin may go either way.
    assert ((mask.data.ravel() == 1) != (heap > 50)).sum() <= 5


@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 3, 3), (1, 1, 1)])
def test_otsu_finds_nothing_in_a_constant_scan(shape: tuple[int, int, int]) -> None:
    volume = Volume(np.full((1, *shape), 7, np.float32), Grid(np.eye(4), shape))
    assert not Threshold(method="otsu")(volume, ONE).decided_on(volume.grid).data.any()


def test_otsu_has_a_maximum_where_one_is_given() -> None:
    data = np.repeat(np.array([0, 100, 120, 3000], np.float32), 16).reshape(1, 4, 4, 4)
    volume = Volume(data, Grid(np.eye(4), (4, 4, 4)))
    mask = Threshold(method="otsu", maximum=2999)(volume, ONE).decided_on(volume.grid)
    assert not mask.data[3].any()
    second = Volume(np.minimum(data, 120), volume.grid)
    assert (Threshold(method="otsu")(second, ONE).decided_on(volume.grid).data[1:] == 1).all()


def test_a_threshold_wants_one_label_and_a_channel_that_is_there() -> None:
    with pytest.raises(ValueError, match="one label"):
        Threshold(minimum=0)(scan(2, 2, 2), TWO)
    with pytest.raises(StudyError, match="channel 3 of 1"):
        Threshold(minimum=0, channel=3)(scan(2, 2, 2), ONE)


def test_the_processor_is_always_there() -> None:
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["cuda:99", "mps:7", "abacus", "cpu:1", "cpu:x", "cuda:", ""])
def test_a_device_that_is_not_here_is_told_by_name(name: str) -> None:
    with pytest.raises(PipelineError, match="medseg doctor"):
        device_named(name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler has its own
@pytest.mark.skipif(which("g++") is None, reason="there is no C++ compiler")
def test_a_compiled_network_says_the_same(tmp_path: Path) -> None:
    network = DynUNet(widths=(4, 6, 8))
    step = SlidingWindow(
        model=network, weights=saved(network, tmp_path), window=(8, 8, 8), mirror=(0,)
    )
    volume = scan(12, 9, 8)
    said = replace(step, compile=True)(volume, TWO).data
    assert torch.allclose(said, step(volume, TWO).data, atol=1e-5)


def test_only_torch_compiles() -> None:
    with pytest.raises(ValueError, match="compile is for engine torch"):
        SlidingWindow(model=Pointwise(), window=(4, 4, 4), compile=True, engine="openvino")
