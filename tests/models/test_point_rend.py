"""Points where logits are unsure, and logits made fine by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from medseg.image import Label, Labels
from medseg.models import DynUNet
from medseg.models.heads import Head, PointHead
from medseg.models.modules.point_rend import (
    Drawn,
    PointMLP,
    Spread,
    doubt,
    sampled,
    subdivided,
    training_points,
)
from medseg.models.pointrend import PointRend
from medseg.training.objective import Objective

Dims = Literal[2, 3]
SPACES = {2: (16, 24), 3: (8, 16, 12)}
TINY: dict[str, Any] = {
    "depth": 18,
    "base": 4,
    "pyramid_channels": 8,
    "head_channels": 8,
    "point_channels": 8,
}


def coarse_of(space: tuple[int, ...], times: int, labels: int = 3) -> Spread:
    torch.manual_seed(0)
    return Spread(torch.randn(2, labels, *(side // times for side in space)), space)


def larger(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return interpolate(logits, size=size, mode=mode, align_corners=False)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_head_that_copies_is_plain_upsampling(dims: Dims) -> None:
    """Copying what the coarse logits say at a point changes nothing, wherever the points are."""
    space = SPACES[dims]
    coarse = coarse_of(space, 2)
    said = subdivided(lambda p: sampled(coarse, p, space), coarse, space, lambda _: 50)
    assert torch.allclose(said, larger(coarse.data, space), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_point_again_in_every_step_is_upsampling_at_once(dims: Dims) -> None:
    space = SPACES[dims]
    coarse = coarse_of(space, 4)
    said = subdivided(lambda p: sampled(coarse, p, space), coarse, space, lambda _: 10**6)
    assert torch.allclose(said, larger(coarse.data, space), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_step_predicts_as_many_points_as_asked_and_no_more(dims: Dims) -> None:
    space, asked = SPACES[dims], []

    def one(points: Tensor) -> Tensor:
        asked.append(points)
        return torch.full((2, 3, points.shape[1]), 100.0)

    said = subdivided(one, coarse_of(space, 4), space, lambda _: 7)
    assert [points.shape for points in asked] == [(2, 7, dims)] * 2
    assert ((said == 100).all(1).flatten(1).sum(1) == 7).all()


def test_logits_of_full_size_are_refined_once_where_they_are_least_sure() -> None:
    coarse = Spread(torch.zeros(1, 2, 6, 8), (6, 8))
    coarse.data[:, 0] = 5.0
    coarse.data[:, 0, 2, 3] = 0.1
    coarse.data[:, 0, 5, 7] = -0.2

    def one(points: Tensor) -> Tensor:
        return torch.tensor([-9.0, 9.0])[None, :, None].expand(1, 2, points.shape[1])

    said = subdivided(one, coarse, (6, 8), lambda _: 2)
    assert said.argmax(1).nonzero().tolist() == [[0, 2, 3], [0, 5, 7]]
    assert said[0, 0, 0, 0] == 5


def test_what_was_padded_is_never_predicted_again() -> None:
    """The far ends are least sure of all, and no image."""
    coarse = Spread(torch.zeros(1, 1, 4, 4), (16, 16))
    coarse.data[..., :3, :2] = 1.0
    seen: list[Tensor] = []

    def one(points: Tensor) -> Tensor:
        seen.append(points)
        return torch.zeros(1, 1, points.shape[1])

    assert subdivided(one, coarse, (9, 5), lambda _: 400).shape == (1, 1, 9, 5)
    assert all(points.min() > -1 for points in seen)
    assert seen[-1].max() < 1
    assert seen[-1].shape[1] == 9 * 5


@pytest.mark.parametrize("dims", [2, 3])
def test_points_name_the_last_axis_first_and_voxels_by_their_centres(dims: Dims) -> None:
    space = SPACES[dims]
    values = torch.randn(1, 2, *space)
    place = (3, 5, 7)[:dims]
    point = [(2 * at + 1) / side - 1 for at, side in zip(place, space, strict=True)]
    points = torch.tensor(point[::-1]).reshape(1, 1, dims)
    wanted = values[(slice(None), slice(None), *place)]
    assert torch.allclose(sampled(Spread(values, space), points, space)[..., 0], wanted, atol=1e-5)
    # The same voxel of a map that reaches farther than the image.
    larger = torch.nn.functional.pad(values, [0, 8] * dims)
    field = tuple(side + 8 for side in space)
    found = sampled(Spread(larger, field), points, space)
    assert torch.allclose(found[..., 0], wanted, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_points_are_where_logits_are_unsure(dims: Dims) -> None:
    """The farther from the middle of the first axis, the surer: most points are near it."""
    torch.manual_seed(0)
    space = (32, 16, 8)[:dims]
    along = torch.linspace(-1, 1, 32).reshape(-1, *(1,) * (dims - 1)).expand(space)
    coarse = Spread(torch.stack([-along, along])[None].repeat(2, *(1,) * (dims + 1)), space)
    points = training_points(coarse, space, Drawn(400))
    assert points.shape == (2, 400, dims)
    assert points.abs().max() <= 1
    # The first axis comes last. A quarter of those tried are kept, and a quarter are anywhere.
    assert ((points[:, :300, -1].abs() < 0.32).double().mean(1) == 1).all()
    assert ((points[:, 300:, -1].abs() < 0.32).double().mean(1) < 0.6).all()


def test_the_least_sure_of_those_tried_are_kept() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 9, 9)
    points = training_points(Spread(logits, (9, 9)), (9, 9), Drawn(40, 5.0, 1.0))
    kept = doubt(sampled(Spread(logits, (9, 9)), points, (9, 9)))
    torch.manual_seed(0)
    torch.randn(1, 3, 9, 9)
    tried = 2 * torch.rand(1, 200, 2) - 1
    every = doubt(grid_sample(logits, tried[:, None], "bilinear", "border", False)[:, :, 0])
    assert torch.allclose(kept.sort().values, every.sort().values[:, -40:], atol=1e-5)


def test_doubt_is_highest_where_the_two_best_are_equal() -> None:
    logits = torch.tensor([[5.0, 5.0, -9.0], [3.0, 0.0, 2.0], [9.0, -9.0, -8.0]]).T[None]
    assert doubt(logits).tolist() == [[0, -1, -17]]
    assert doubt(logits, "regions").tolist() == [[-5, 0, -8]]
    assert doubt(torch.tensor([[[2.0, -0.5]]])).tolist() == [[-2, -0.5]]


@pytest.mark.parametrize("again", [True, False])
def test_coarse_logits_come_again_in_each_layer_where_asked(again: bool) -> None:
    head = PointMLP(5, 3, 16, 3, coarse_each_layer=again)
    more = 3 if again else 0
    wanted = (8 * 16 + 16) + 2 * ((16 + more) * 16 + 16) + (16 + more) * 3 + 3
    assert sum(p.numel() for p in head.parameters()) == wanted
    assert head(torch.randn(2, 5, 7), torch.randn(2, 3, 7)).shape == (2, 3, 7)


@pytest.mark.parametrize("dims", [2, 3])
def test_in_training_points_stand_beside_the_coarse_logits(dims: Dims) -> None:
    torch.manual_seed(0)
    module = PointRend(spatial_dims=dims, points=30, point_weight=0.5, **TINY)(1, 3).train()
    space = (17, 22, 9)[:dims]
    whole, points = module(torch.randn(2, 1, *space))
    assert isinstance(whole, Head)
    assert (whole.logits.shape, whole.weight) == ((2, 3, *space), 1)
    assert isinstance(points, PointHead)
    assert points.logits.shape == (2, 3, 30)
    assert points.points.shape == (2, 30, dims)
    assert points.weight == 0.5
    labels = Labels((Label("a", (1,)), Label("b", (2,))))
    target = torch.randint(0, 3, (2, 1, *space))
    assert Objective(labels)([whole, points], target).isfinite()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [2, 3])
def test_any_network_is_a_host(dims: Dims, stride: Any) -> None:
    """Its heads stay, the points come last; inference differs from it in few voxels."""
    torch.manual_seed(0)
    host = DynUNet(spatial_dims=dims, widths=(4, 6, 8), deep_supervision=1)
    network = PointRend(
        spatial_dims=dims, host=host, fine_stride=stride, point_channels=8, refined=5
    )
    module, image = network(1, 3), torch.randn(2, 1, *(9, 14, 7)[:dims])
    heads = module.train()(image)
    assert [type(head) for head in heads] == [Head, Head, PointHead]
    module.eval()
    with torch.no_grad():
        alone, said = module.host.network(image), module(image)
    assert (said != alone).any(1).flatten(1).sum(1).tolist() == [5, 5]
    for side in (1, 2):
        one = torch.randn(1, 1, *(side,) * dims)
        assert module.train()(one)[0].logits.shape == (1, 3, *(side,) * dims)


def test_a_host_is_a_network_in_a_pipeline(tmp_path: Path) -> None:
    from medseg.pipeline import dump_pipeline, load_pipeline

    path = tmp_path / "pipeline.yaml"
    path.write_text("""
name: sharp
labels: {body: 1}
inference:
  - sliding_window:
      window: [16, 16, 16]
      model: {name: pointrend, host: {name: dynunet, widths: [4, 6, 8]}, refined: 100}
""")
    pipeline = load_pipeline(path)
    model = pipeline.inference[0].model  # type: ignore[attr-defined]
    assert model == PointRend(host=DynUNet(widths=(4, 6, 8)), refined=100)
    path.write_text(dump_pipeline(pipeline))
    assert load_pipeline(path) == pipeline


def test_in_3d_points_grow_with_the_surface() -> None:
    module = PointRend(**TINY)(1, 2).train()
    with torch.no_grad():
        small, big = (module(torch.zeros(1, 1, *(side,) * 3))[-1] for side in (16, 32))
    assert (small.points.shape[1], big.points.shape[1]) == (3 * 16**2, 3 * 32**2)


@pytest.mark.parametrize(
    "option",
    [
        {"host": DynUNet(spatial_dims=2)},
        {"points": 0},
        {"refined": 0},
        {"oversampling": 0.5},
        {"important": 1.5},
        {"point_layers": 0},
        {"point_weight": -1.0},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(option))} "):
        PointRend(**option)
