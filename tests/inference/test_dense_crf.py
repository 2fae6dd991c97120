"""A dense random field: what it must compute, and what it must do to a noisy phantom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Grid, Label, Labels, Volume
from medseg.inference import DenseCrf, Scores
from medseg.inference.dense_crf import robust
from medseg.inference.gaussian_sums import BilateralGrid, exact_sums, spatial_sums
from medseg.inference.lattice import Lattice
from medseg.pipeline import Limits, Pipeline, load_pipeline
from medseg.run.segment import segment

Array = NDArray[np.float64]
TWO = Labels((Label("organ", (1,)), Label("lesion", (2,))))
REGIONS = Labels((Label("whole", (1, 2)), Label("part", (2,))))
SPACES = {
    "2D": ((17, 13, 1), (1.0, 1.0, 4.0)),
    "3D": ((9, 8, 7), (1.0, 1.0, 1.0)),
    "anisotropic": ((9, 8, 5), (0.7, 1.1, 3.0)),
}


def grid_of(space: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    return Grid(np.diag([*spacing, 1.0]), space)


def phantom(
    space: tuple[int, int, int],
    spacing: tuple[float, float, float],
    labels: Labels = TWO,
    channels: int = 1,
    seed: int = 0,
) -> tuple[NDArray[np.int64], Volume, Scores]:
    """Ball in ball: the truth, a noisy image of it and the scores of a poor network."""
    drawn = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, s) for s in space), indexing="ij"))
    places = np.where(np.array(space).reshape(3, 1, 1, 1) > 1, places, 0)
    far = np.sqrt((places**2).sum(0))
    truth = (far < 0.8).astype(np.int64) + (far < 0.45)
    signs = np.array([1, -1, 1, -1])[:channels].reshape(-1, 1, 1, 1)
    image = signs * truth * 2 + drawn.normal(0, 0.5, (channels, *space))
    if labels.exclusive:
        logits = 2 * np.eye(3)[truth].transpose(3, 0, 1, 2) + drawn.normal(0, 1.5, (3, *space))
        shares = np.exp(logits) / np.exp(logits).sum(0)
    else:
        logits = 2.0 * np.stack([truth > 0, truth > 1]) - 1 + drawn.normal(0, 1.5, (2, *space))
        shares = 1 / (1 + np.exp(-logits))
    grid = grid_of(space, spacing)
    scores = Scores(torch.from_numpy(shares.astype(np.float32)), grid, labels)
    return truth, Volume(image.astype(np.float32), grid), scores


def kernel(features: Array) -> Array:
    """exp(-1/2 |f_i - f_j|^2) for points (N, D), normalised on both sides."""
    weights = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(-1))
    norm = 1 / np.sqrt(weights.sum(1))
    return np.asarray(norm[:, None] * weights * norm)


def by_hand(step: DenseCrf, scores: Scores, image: Volume) -> Array:
    """Mean field with every pair written out; a region is a field of two labels."""
    space = scores.grid.shape
    index = np.stack(np.meshgrid(*map(np.arange, space), indexing="ij"), -1).reshape(-1, 3)
    place = index * np.array(scores.grid.spacing_mm)
    looks = robust(image.data).reshape(len(image.data), -1).T.astype(np.float64)
    smooth = kernel(place / step.smoothness_mm)
    alike = kernel(np.hstack([place / step.appearance_mm, looks / step.appearance_intensity]))
    pairwise = step.smoothness_weight * smooth + step.appearance_weight * alike
    shares = scores.data.numpy().astype(np.float64).reshape(len(scores.data), -1)

    def field(p: Array) -> Array:
        unary = -np.log(np.clip(p, 1e-5, 1))
        q = np.exp(-unary) / np.exp(-unary).sum(0)
        for _ in range(step.iterations):
            energy = -unary + q @ pairwise
            q = np.exp(energy - energy.max(0))
            q /= q.sum(0)
        return q

    if scores.labels.exclusive:
        return field(shares).reshape(scores.data.shape)
    each = [field(np.stack([1 - one, one]))[1] for one in shares]
    return np.stack(each).reshape(scores.data.shape)


def dice(scores: Scores, truth: NDArray[np.int64], label: int) -> float:
    found = scores.data.argmax(0).numpy() == label
    return float(2 * (found & (truth == label)).sum() / (found.sum() + (truth == label).sum()))


@pytest.mark.parametrize("labels", [TWO, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("space", SPACES)
def test_the_exact_form_is_the_mean_field_written_out(
    space: str, channels: int, labels: Labels
) -> None:
    _, image, scores = phantom(*SPACES[space], labels=labels, channels=channels)
    step = DenseCrf(smoothness_mm=1.5, appearance_mm=4.0, method="exact")
    found = step(scores, image)
    assert np.abs(found.data.numpy() - by_hand(step, scores, image)).max() < 1e-4
    assert (found.grid, found.labels) == (scores.grid, scores.labels)
    if labels.exclusive:
        assert torch.allclose(found.data.sum(0), torch.ones(scores.grid.shape), atol=1e-5)


def test_pairs_in_parts_are_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    _, image, scores = phantom(*SPACES["3D"])
    whole = DenseCrf(method="exact")(scores, image)
    monkeypatch.setattr("medseg.inference.gaussian_sums._PAIRS", 5000)
    assert torch.allclose(DenseCrf(method="exact")(scores, image).data, whole.data, atol=1e-5)


@pytest.mark.parametrize("labels", [TWO, REGIONS], ids=["exclusive", "regions"])
def test_without_weight_nothing_changes(labels: Labels) -> None:
    _, image, scores = phantom(*SPACES["3D"], labels=labels)
    found = DenseCrf(smoothness_weight=0.0, appearance_weight=0.0)(scores, image)
    assert torch.equal(found.data, scores.data)


@pytest.mark.parametrize("labels", [TWO, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize(
    ("method", "channels", "spacing"),
    [
        ("grid", 1, (1.0, 1.0, 1.0)),
        ("grid", 1, (1.0, 0.8, 3.0)),
        ("lattice", 1, (1.0, 1.0, 1.0)),
        ("lattice", 2, (1.0, 0.8, 3.0)),
        ("lattice", 4, (1.0, 1.0, 1.0)),
    ],
)
def test_the_fast_forms_decide_as_the_exact_one(
    method: Any, channels: int, spacing: tuple[float, float, float], labels: Labels
) -> None:
    _, image, scores = phantom((20, 18, 11), spacing, labels=labels, channels=channels)
    fast = DenseCrf(method=method)(scores, image).data
    exact = DenseCrf(method="exact")(scores, image).data
    if labels.exclusive:
        same = fast.argmax(0) == exact.argmax(0)
    else:
        same = ((fast >= 0.5) == (exact >= 0.5)).all(0)
    assert same.double().mean() >= 0.99
    assert (fast - exact).abs().mean() < (2e-3 if method == "grid" else 1e-2)


@pytest.mark.parametrize("space", [(48, 40, 1), (24, 22, 20)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_noisy_phantoms_dice_rises(space: tuple[int, int, int], channels: int) -> None:
    truth, image, scores = phantom(space, (1.0, 1.0, 1.0), channels=channels)
    found = DenseCrf()(scores, image)
    for label in (1, 2):
        assert dice(found, truth, label) > dice(scores, truth, label) + 0.1
        assert dice(found, truth, label) > 0.9


def test_spacing_counts_and_not_voxels() -> None:
    """Voxels twice as long under ranges twice as long hear each other as before."""
    _, image, scores = phantom((7, 8, 9), (1.0, 1.0, 1.0))
    wide = grid_of((7, 8, 9), (2.0, 2.0, 2.0))
    near = DenseCrf()(scores, image)
    far = DenseCrf(smoothness_mm=6.0, appearance_mm=20.0)(
        replace(scores, grid=wide), Volume(image.data, wide)
    )
    assert torch.allclose(near.data, far.data, atol=1e-6)


@pytest.mark.parametrize("method", ["exact", "grid", "lattice"])
def test_intensities_have_no_unit(method: Any) -> None:
    _, image, scores = phantom((11, 12, 6), (1.0, 1.0, 1.0))
    other = Volume(image.data * 40 - 1000, image.grid)
    step = DenseCrf(method=method)
    assert torch.allclose(step(scores, image).data, step(scores, other).data, atol=1e-3)


@pytest.mark.parametrize("method", ["exact", "grid", "lattice"])
@pytest.mark.parametrize("space", [(1, 1, 1), (1, 5, 1), (2, 1, 3)])
def test_few_voxels_and_a_constant_image_are_no_trouble(
    space: tuple[int, int, int], method: Any
) -> None:
    _, _, scores = phantom(space, (1.0, 1.0, 1.0))
    image = Volume(np.full((1, *space), 7, np.float32), scores.grid)
    assert DenseCrf(method=method)(scores, image).data.isfinite().all()


def test_a_sum_over_a_lattice_is_the_kernels_own_to_a_factor() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 8, 8, 8)
    values = torch.rand(2, 8, 8, 8)
    near, right = Lattice(features)(values), exact_sums(features)(values)
    ratio = near / right
    assert ratio.std() / ratio.mean() < 0.05


def test_a_sum_over_a_grid_is_the_kernels_own_to_a_factor() -> None:
    torch.manual_seed(0)
    guide, values = 4 * torch.rand(14, 12, 6), torch.rand(2, 14, 12, 6)
    reach = (5.0, 4.0, 0.8)
    sides = zip(guide.shape, reach, strict=True)
    places = torch.meshgrid(*(torch.arange(s) / r for s, r in sides), indexing="ij")
    right = exact_sums(torch.stack([*places, guide]))(values)
    ratio = BilateralGrid(guide, reach)(values) / right
    assert ratio.std() / ratio.mean() < 0.02


def test_a_sum_over_places_is_exact() -> None:
    values, reach = torch.rand(2, 6, 5, 4), (3.0, 1.5, 0.5)
    sides = zip(values.shape[1:], reach, strict=True)
    places = torch.meshgrid(*(torch.arange(s) / r for s, r in sides), indexing="ij")
    right = exact_sums(torch.stack(places))(values)
    assert torch.allclose(spatial_sums(reach, values)(values), right, atol=1e-5)


def test_one_bright_voxel_does_not_set_the_scale() -> None:
    image = np.random.default_rng(0).normal(size=(1, 10, 10, 10)).astype(np.float32)
    hot = image.copy()
    hot[0, 5, 5, 5] = 1e6
    away = np.abs(robust(image) - robust(hot))
    away[0, 5, 5, 5] = 0
    assert away.max() < 0.1
    assert np.abs(robust(hot)).max() <= 10


@pytest.mark.parametrize(
    "option",
    [
        {"smoothness_mm": 0.0},
        {"appearance_mm": -1.0},
        {"appearance_intensity": 0.0},
        {"smoothness_weight": -1.0},
        {"appearance_weight": -1.0},
        {"iterations": 0},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(option))} "):
        DenseCrf(**option)


def test_a_grid_of_several_channels_is_refused() -> None:
    _, image, scores = phantom((4, 4, 4), (1.0, 1.0, 1.0), channels=2)
    with pytest.raises(StudyError, match="one channel"):
        DenseCrf(method="grid")(scores, image)


PIPELINE = """
name: refined
labels: {body: 1}
inference: [{threshold: {minimum: 0.5}}]
refine:
  - dense_crf: {smoothness_weight: 20, smoothness_mm: 2, appearance_weight: 0}
"""


def loaded(folder: Path, text: str = PIPELINE) -> Pipeline:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return load_pipeline(path)


def test_a_pipeline_refines_before_it_decides(tmp_path: Path) -> None:
    image = np.zeros((1, 9, 9, 9), np.float32)
    image[0, 5:, :, :] = 1
    image[0, 1, 4, 4] = 1
    pipeline = loaded(tmp_path)
    scan = Volume(image, Grid(np.eye(4), (9, 9, 9)))
    rough = segment(scan, replace(pipeline, refine=())).mask.data
    result = segment(scan, pipeline)
    assert rough[1, 4, 4] == 1
    assert result.mask.data[1, 4, 4] == 0
    assert result.mask.data[7, 4, 4] == 1
    assert "refine" in result.seconds


def test_refining_needs_memory_too(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path)
    scan = Volume(np.ones((1, 64, 64, 64), np.float32), Grid(np.eye(4), (64, 64, 64)))
    limit = 3 * 4 * 2 * 64**3 / 2**30
    segment(scan, replace(pipeline, refine=()), limits=Limits(memory_gib=limit))
    with pytest.raises(StudyError, match="E_TOO_LARGE"):
        segment(scan, pipeline, limits=Limits(memory_gib=limit))
