"""A field that tells any point what lies there, from a coarse map."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from medseg.models.heads import PointHead
from medseg.models.modules.attention_field import AttentionField, centres
from medseg.models.modules.point_rend import Spread

Dims = Literal[2, 3]
GRIDS = {2: (3, 4), 3: (2, 3, 4)}
SPACES = {2: (7, 9), 3: (5, 6, 4)}


def field(dims: Dims, **options: Any) -> AttentionField:
    torch.manual_seed(0)
    made = AttentionField(dims, 6, 3, hidden=8, blocks=2, bands=2, **options)
    # Away from where it begins, so that everything takes part.
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return made


@pytest.mark.parametrize("dims", [2, 3])
def test_the_order_of_tokens_does_not_matter(dims: Dims) -> None:
    """As long as each keeps its place in the image."""
    made = field(dims).eval()
    tokens, places = torch.randn(2, 6, 12), centres(GRIDS[dims])[:, :12]
    points = 2 * torch.rand(2, 5, dims) - 1
    order = torch.randperm(12)
    with torch.no_grad():
        there = made.at(tokens, places, points)
        again = made.at(tokens[..., order], places[:, order], points)
        moved = made.at(tokens[..., order], places, points)
    assert len(there) == 2
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(there, again, strict=True))
    assert not torch.allclose(there[-1], moved[-1], atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_chunks_change_nothing(dims: Dims) -> None:
    made, features = field(dims).eval(), torch.randn(2, 6, *GRIDS[dims])
    with torch.no_grad():
        whole = made(Spread(features, SPACES[dims]), SPACES[dims])
        made.chunk = 7
        parts = made(Spread(features, SPACES[dims]), SPACES[dims])
    assert whole.shape == (2, 3, *SPACES[dims])
    assert torch.allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_voxel_is_asked_at_its_centre(dims: Dims) -> None:
    made, features = field(dims).eval(), torch.randn(1, 6, *GRIDS[dims])
    place = (4, 1, 2)[:dims]
    point = [(2 * at + 1) / side - 1 for at, side in zip(place, SPACES[dims], strict=True)]
    with torch.no_grad():
        dense = made(Spread(features, SPACES[dims]), SPACES[dims])
        points = torch.tensor(point[::-1]).reshape(1, 1, dims)
        alone = made.at(features.flatten(2), centres(GRIDS[dims]), points)[-1]
    assert torch.allclose(dense[(0, slice(None), *place)], alone[0, :, 0], atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_in_training_points_are_drawn_for_every_iteration(dims: Dims) -> None:
    made = field(dims, per_label=10).train()
    features = torch.randn(2, 6, *GRIDS[dims])
    heads = made(Spread(features, SPACES[dims]), SPACES[dims])
    assert all(isinstance(head, PointHead) for head in heads)
    assert [head.weight for head in heads] == [0.1, 1.0]
    assert [head.logits.shape for head in heads] == [(2, 3, 30)] * 2
    assert heads[0].points is heads[1].points
    assert heads[0].points.abs().max() <= 1
    sum(head.logits.square().mean() for head in heads).backward()
    assert all(p.grad is not None and p.grad.any() for p in made.parameters())


def test_an_exported_field_gives_the_same() -> None:
    made, features = field(3, chunk=50).eval(), torch.randn(1, 6, *GRIDS[3])

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = made

        def forward(self, features: torch.Tensor) -> Any:
            return self.field(Spread(features, SPACES[3]), SPACES[3])

    with torch.no_grad():
        program = torch.export.export(Dense().eval(), (features,))
        assert torch.allclose(program.module()(features), Dense()(features), atol=1e-5)


def test_a_single_token_and_a_single_voxel_will_do() -> None:
    made, context = field(3).eval(), Spread(torch.randn(1, 6, 1, 1, 1), (1, 1, 1))
    with torch.no_grad():
        assert made(context, (1, 1, 1)).isfinite().all()
    assert made.train()(context, (1, 1, 1))[-1].logits.isfinite().all()


def test_what_lies_beyond_the_image_has_its_place_beyond_it() -> None:
    """A map over 8 by 8 voxels, of an image of 8 by 4 and one of 8 by 8: the same half."""
    made = field(2, conditions=2).eval()
    context, fine = torch.randn(1, 6, 4, 4), torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        whole = made(Spread(context, (8, 8)), (8, 8), Spread(fine, (8, 8)))
        half = made(Spread(context, (8, 8)), (8, 4), Spread(fine, (8, 8)))
        assert half.shape == (1, 3, 8, 4)
        assert not torch.allclose(whole[..., :4], half, atol=1e-3)
        made.query.weight[:, :10].zero_()
        made.key.weight[:, 6:].zero_()
        whole = made(Spread(context, (8, 8)), (8, 8), Spread(fine, (8, 8)))
        half = made(Spread(context, (8, 8)), (8, 4), Spread(fine, (8, 8)))
    # With no coordinates told, a voxel says the same of itself, however large the image is.
    assert torch.allclose(whole[..., :4], half, atol=1e-4)
