"""ViT and SETR: laws of the position table and the patches, and what the heads give."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, multi_head_attention_forward

from medseg.models.encoders.vit import PositionTable, ViT, ViTForm
from medseg.models.heads import Head
from medseg.models.layers import resized
from medseg.models.modules.attention import SelfAttention
from medseg.models.setr import SETR

TINY: dict[str, Any] = {"width": 8, "depth": 4, "attention_heads": 2, "head_width": 4}


def vit(grid: tuple[int, ...], *, class_token: bool = True) -> ViT:
    torch.manual_seed(0)
    form = ViTForm(
        width=8,
        depth=3,
        heads=2,
        patch=(2, 4, 2)[: len(grid)],
        grid=grid,
        layers=(1, 3),
        class_token=class_token,
    )
    return ViT(len(grid), 1, form).eval()


@pytest.mark.parametrize("grid", [(3, 5), (2, 3, 4)])
def test_a_position_table_at_its_own_grid_is_itself(grid: tuple[int, ...]) -> None:
    table = PositionTable(4, grid)
    assert torch.equal(table(grid), table.table)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_position_table_is_interpolated_along_each_axis_alone(axis: int) -> None:
    """What changes along one axis only does so on every other grid."""
    grid, other = (3, 4, 5), (7, 2, 9)
    table = PositionTable(2, grid)
    shape = [1, 2, 1, 1, 1]
    shape[2 + axis] = grid[axis]
    line = torch.randn(shape)
    with torch.no_grad():
        table.table.copy_(line.expand_as(table.table))
        wanted = interpolate(line.flatten(2), size=other[axis], mode="linear")
        shape[2 + axis] = other[axis]
        assert torch.allclose(table(other), wanted.view(shape).expand(1, 2, *other), atol=1e-6)


@pytest.mark.parametrize("class_token", [True, False])
def test_without_positions_patches_may_change_places(class_token: bool) -> None:
    encoder, image = vit((4, 3), class_token=class_token), torch.randn(2, 1, 8, 12)
    with torch.no_grad():
        encoder.positions.table.zero_()
        for one, moved in zip(encoder(image), encoder(image.roll((2, 4), (2, 3))), strict=True):
            assert torch.allclose(one.roll((1, 1), (2, 3)), moved, atol=1e-5)


def test_positions_tell_patches_apart() -> None:
    encoder = vit((4, 3))
    with torch.no_grad():
        last = encoder(torch.zeros(1, 1, 8, 12))[-1].flatten(2)
    assert torch.pdist(last[0].T).min() > 1e-3


def test_self_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    module, tokens = SelfAttention(8, 2), torch.randn(2, 5, 8)
    joint, out, across = module.query_key_value, module.out, tokens.transpose(0, 1)
    wanted, _ = multi_head_attention_forward(
        across,
        across,
        across,
        8,
        2,
        joint.weight,
        joint.bias,
        None,
        None,
        False,
        0.0,
        out.weight,
        out.bias,
    )
    assert torch.allclose(module(tokens), wanted.transpose(0, 1), atol=1e-6)


def test_a_vit_gives_the_layers_asked_for_on_the_patches_grid() -> None:
    encoder = vit((2, 3, 4))
    assert encoder.strides == ((2, 4, 2), (2, 4, 2))
    assert encoder.channels == (8, 8)
    features = encoder(torch.randn(2, 1, 6, 8, 2))
    assert [tuple(feature.shape) for feature in features] == [(2, 8, 3, 2, 1)] * 2
    assert not torch.allclose(*features)


@pytest.mark.parametrize(("head", "count"), [("naive", 4), ("pup", 4), ("mla", 5)])
@pytest.mark.parametrize("dims", [2, 3])
def test_heads_cover_the_image_and_weigh_as_in_the_paper(
    head: Any, count: int, dims: Literal[2, 3]
) -> None:
    module = SETR(spatial_dims=dims, head=head, patch=8, **TINY)(1, 3)
    image = torch.randn(2, 1, *(13, 24, 9)[:dims])
    heads = module.train()(image)
    assert all(isinstance(one, Head) for one in heads)
    assert [tuple(one.logits.shape) for one in heads] == [(2, 3, *image.shape[2:])] * count
    assert [one.weight for one in heads] == [1.0, *[0.4] * (count - 1)]
    assert isinstance(module.eval()(image), Tensor)


@pytest.mark.parametrize("head", ["naive", "pup", "mla"])
def test_without_auxiliary_heads_nothing_more_is_built(head: Any) -> None:
    options = SETR(spatial_dims=2, head=head, patch=8, auxiliary=False, **TINY)
    module = options(1, 2).train()
    assert not list(module.head.auxiliary)
    assert isinstance(module(torch.randn(2, 1, 16, 16)), Tensor)


@pytest.mark.parametrize(
    ("head", "finest"), [("naive", (2, 3)), ("pup", (16, 24)), ("mla", (8, 12))]
)
def test_logits_are_made_where_the_paper_has_it(head: Any, finest: tuple[int, ...]) -> None:
    """PUP at half the image, MLA at a quarter, naive on the patches' grid."""
    module = SETR(spatial_dims=2, head=head, patch=16, **TINY)(1, 2).eval()
    [logits] = module.head(module.encoder(torch.randn(1, 1, 32, 48)))
    assert tuple(logits.shape) == (1, 2, *finest)


def test_up_sampling_follows_the_patch_along_each_axis() -> None:
    options = SETR(spatial_dims=3, patch=(4, 16, 12))
    assert options.factors == ((2, 2, 2), (4, 4, 4), (4, 8, 8), (4, 16, 12))
    assert options.helping_factors == ((4, 4, 4), (4, 16, 12))
    assert SETR(spatial_dims=2, head="naive").factors == ((16, 16),)


def test_a_1x1_convolution_may_stand_before_the_last_up_sampling() -> None:
    features = torch.randn(1, 4, 3, 5)
    classify = torch.nn.Conv2d(4, 2, 1)
    before = resized(classify(features), (12, 20))
    assert torch.allclose(before, classify(resized(features, (12, 20))), atol=1e-5)


def test_layers_are_the_papers_shares_of_the_depth() -> None:
    assert SETR(size="large").layers == (10, 15, 20, 24)
    assert SETR(size="large", head="mla").layers == (6, 12, 18, 24)
    assert SETR(size="base", head="mla").layers == (3, 6, 9, 12)
    assert SETR(size="base", auxiliary=False).layers == (12,)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 0}, "width is at least 1"),
        ({"attention_heads": 7}, "attention_heads share the width evenly; 768"),
        ({"patch": (16, 16)}, "patch is a number above 0 or 3 of them"),
        ({"image_size": 0}, "image_size is a number above 0"),
        ({"dropout": 1.0}, "dropout lies in"),
        ({"drop_path": 1.5}, "drop_path lies in"),
        ({"auxiliary_convs": 0}, "auxiliary_convs is at least 1"),
    ],
)
def test_impossible_options_are_told_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SETR(**options)
