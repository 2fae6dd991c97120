"""The network of parts: every combination that means something is built, others are refused."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args, get_type_hints

import pytest
import torch
from models.teaching import untaught

from medseg.models.heads import Head, PointHead
from medseg.models.modular import Modular
from medseg.models.modules.fusion import TopDown

HINTS = get_type_hints(Modular)
ENCODERS, CONTEXTS, FUSIONS, HEADS = (
    get_args(HINTS[part]) for part in ("encoder", "context", "fusion", "head")
)
SPACES = {2: (33, 40), 3: (17, 20, 9)}


def small(dims: int, **parts: Any) -> Modular:
    return Modular(spatial_dims=dims, base=4, width=4, **parts)  # type: ignore[arg-type]


def meaningless(encoder: str, fusion: str, head: str) -> bool:
    """Logits on the image's own grid cannot be made finer."""
    return head == "point_rend" and encoder == "unet" and fusion != "bga"


def built_or_refused(dims: int, encoder: str, context: str, fusion: str, head: str) -> None:
    """On the meta device: shapes are followed through every layer, nothing is computed."""
    parts = {"encoder": encoder, "context": context, "fusion": fusion, "head": head}
    if meaningless(encoder, fusion, head):
        with pytest.raises(ValueError, match="on its own grid"):
            small(dims, **parts)
        return
    with torch.device("meta"), torch.no_grad():
        module = small(dims, **parts)(1, 3).train()
        said = module(torch.empty(2, 1, *SPACES[dims]))
    first = said if isinstance(said, torch.Tensor) else said[0].logits
    assert first.shape == (2, 3, *SPACES[dims]), parts


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_combination_is_built_or_refused_with_a_sentence(
    encoder: str, head: str, dims: int
) -> None:
    for context, fusion in product(CONTEXTS, FUSIONS):
        built_or_refused(dims, encoder, context, fusion, head)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_goes_with_every_context_fusion_and_head(encoder: str, dims: int) -> None:
    """Each of them once or more; every combination of them takes minutes."""
    for place, context in enumerate(CONTEXTS):
        fusion, head = FUSIONS[place % len(FUSIONS)], HEADS[place % len(HEADS)]
        built_or_refused(dims, encoder, context, fusion, head)
    for head in HEADS:
        built_or_refused(dims, encoder, "none", "bga", head)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "parts",
    [
        *({"encoder": one} for one in ENCODERS),
        *({"context": one} for one in CONTEXTS),
        *({"fusion": one} for one in FUSIONS),
        *({"head": one} for one in HEADS),
        {"encoder": "unet", "fusion": "bga", "head": "point_rend"},
        {"encoder": "mit_b0", "context": "psa", "fusion": "bga", "head": "attention_field"},
    ],
)
def test_each_part_learns_and_is_exported(parts: dict[str, str], dims: int) -> None:
    torch.manual_seed(0)
    module, image = small(dims, **parts)(1, 3), torch.randn(2, 1, *SPACES[dims])
    said = module.train()(image)
    heads = [said] if isinstance(said, torch.Tensor) else [head.logits for head in said]
    sum(head.square().mean() for head in heads).backward()
    # The field's blocks begin as the identity: they learn from the second step on.
    assert [key for key in untaught(module) if not key.startswith("field.")] == []
    with torch.no_grad():
        whole = module.eval()(image)
        program = torch.export.export(module, (image,))
        assert torch.allclose(program.module()(image), whole, atol=1e-4)


def test_heads_of_the_parts_are_those_of_their_networks() -> None:
    image = torch.randn(2, 1, 32, 32)
    points = small(2, head="point_rend")(1, 3).train()(image)
    assert [type(head) for head in points] == [Head, PointHead]
    field = small(2, head="attention_field")(1, 3).train()(image)
    assert [type(head) for head in field] == [Head, PointHead, PointHead]


@pytest.mark.parametrize("fusion", ["concat", "add", "fam", "cca"])
def test_a_fused_map_lies_on_the_finest_grid_and_hears_every_level(fusion: Any) -> None:
    torch.manual_seed(0)
    factors = [(2, 1, 2), (2, 2, 2)]
    fused = TopDown(3, (2, 3), factors, 4, fusion).eval()
    levels = [torch.randn(1, 2, 8, 4, 8), torch.randn(1, 3, 4, 4, 4), torch.randn(1, 4, 2, 2, 2)]
    with torch.no_grad():
        before = fused(levels)
        assert before.shape == (1, 4, 8, 4, 8)
        for place in range(3):
            changed = [one + (number == place) for number, one in enumerate(levels)]
            assert not torch.allclose(fused(changed), before)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 3}, "width is an even number"),
        ({"base": 0}, "base is above 0"),
        ({"encoder": "stdc1", "base": 3}, "base is an even number above 0"),
        ({"dropout": 1.0}, "dropout lies in"),
        ({"context": "ppm", "rates": (2,)}, "rates belongs to the context aspp or dense_aspp"),
        ({"context": "none", "bins": (2,)}, "bins belongs to the context ppm; the context none"),
        ({"context": "aspp", "mask": 3}, "mask belongs to the context psa"),
        ({"context": "psa", "kernel": 3}, "kernel belongs to the context gcn"),
        ({"context": "psa", "mask": 4}, "mask is an odd number"),
        ({"context": "gcn", "kernel": 0}, "kernel is an odd number"),
        ({"context": "ppm", "bins": (0,)}, "bins are a number above 0"),
        ({"rates": ()}, "rates wants at least one"),
        ({"strides": (2, 2)}, "strides wants 5 entries"),
        ({"encoder": "unet", "strides": (2,)}, "strides wants 4 entries"),
        ({"head": "point_rend", "strides": (1, 2, 2, 2, 2)}, "on its own grid"),
    ],
)
def test_options_that_mean_nothing_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Modular(**options)


def test_options_of_a_part_reach_it() -> None:
    first = small(2, context="aspp", rates=(1, (3, 5)))(1, 3).trunk.context
    assert [branch.conv.dilation for branch in list(first.branches)[1:]] == [(1, 1), (3, 5)]
    bins = small(2, context="ppm", bins=(1, (2, 3)))(1, 3).trunk.context[0].bins
    assert bins == [(1, 1), (2, 3)]
    kernel = small(3, context="gcn", kernel=5)(1, 3).trunk.context[0].chains[0][0].kernel_size
    assert kernel == (5, 1, 1)
    assert small(3, context="psa", mask=3)(1, 3).trunk.context[0].collect.mask == (3, 3, 3)
