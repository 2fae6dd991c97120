"""MONAI's networks in medseg: the same numbers, any size, and deep supervision as heads."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from monai.networks import nets

from medseg.models import MODELS
from medseg.models.mednext import MedNeXt
from medseg.models.monai_network import Monai
from medseg.models.unetr import UNETR

Dims = Literal[2, 3]
STEPS = ((1, 2, 2), (2, 2, 2))


def monais(name: str, dims: Dims) -> torch.nn.Module:
    if name == "segresnet":
        return nets.SegResNet(dims, 8, 1, 2, blocks_down=(1, 2), blocks_up=(1,))
    if name == "attention_unet":
        strides = [step[-dims:] for step in STEPS]
        return nets.AttentionUnet(dims, 1, 2, (4, 6, 8), strides)
    assert name == "swin_unetr"
    depths = (1, 1, 1, 1)
    return nets.SwinUNETR(1, 2, depths=depths, feature_size=12, window_size=3, spatial_dims=dims)


def mine(name: str, dims: Dims) -> torch.nn.Module:
    options: dict[str, dict[str, Any]] = {
        "segresnet": {"width": 8, "blocks_down": (1, 2), "blocks_up": (1,)},
        "attention_unet": {"widths": (4, 6, 8), "strides": [step[-dims:] for step in STEPS]},
        "swin_unetr": {"width": 12, "depths": (1, 1, 1, 1), "window": 3},
    }
    return MODELS[name](spatial_dims=dims, **options[name])(1, 2)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["segresnet", "attention_unet", "swin_unetr"])
def test_a_fitted_network_is_monais_own(name: str, dims: Dims) -> None:
    torch.manual_seed(0)
    module, theirs = mine(name, dims).eval(), monais(name, dims).eval()
    theirs.load_state_dict(module.network.state_dict())
    image = torch.randn(1, 1, *(32,) * (dims - 1), 64)
    with torch.no_grad():
        assert torch.allclose(module(image), theirs(image), atol=1e-5)


def unetr(dims: Dims, side: int) -> UNETR:
    return UNETR(spatial_dims=dims, width=4, hidden_width=8, attention_heads=2, image_size=side)


@pytest.mark.parametrize("dims", [2, 3])
def test_unetr_is_monais_own_at_its_own_size(dims: Dims) -> None:
    torch.manual_seed(0)
    module = unetr(dims, 32)(1, 2).eval()
    theirs = nets.UNETR(
        1,
        2,
        32,
        feature_size=4,
        hidden_size=8,
        mlp_dim=32,
        num_heads=2,
        spatial_dims=dims,
    ).eval()
    left = theirs.load_state_dict(module.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert all("norm_cross_attn" in key for key in left.missing_keys)
    image = torch.randn(1, 1, *(32,) * dims)
    with torch.no_grad():
        assert torch.allclose(module(image), theirs(image), atol=1e-5)


def test_unetr_at_another_size_interpolates_positions_on_their_own_grid() -> None:
    """A table that is the same everywhere is so at every size."""
    torch.manual_seed(0)
    small, large = unetr(2, 32)(1, 2).eval(), unetr(2, 64)(1, 2).eval()
    state = small.state_dict()
    [key] = [key for key in state if key.endswith("position_embeddings")]
    state[key] = torch.randn(1, 1, 8).expand(1, 4, 8)
    small.load_state_dict(state)
    large.load_state_dict({**state, key: state[key][:, :1].expand(1, 16, 8)})
    image = torch.randn(1, 1, 40, 64)
    with torch.no_grad():
        assert torch.allclose(small(image), large(image), atol=1e-5)


@pytest.mark.parametrize("size", ["s", "b", "m", "l"])
def test_mednexts_sizes_are_monais(size: Any) -> None:
    with torch.device("meta"):
        wanted = nets.mednext.create_mednext(size, deep_supervision=True).state_dict()
        found = MedNeXt(size=size)(1, 2).network.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in wanted.items()}


def test_mednext_supervises_every_level_as_far_as_the_image_goes() -> None:
    module = MedNeXt(spatial_dims=2, width=2)(1, 3).train()
    heads = module(torch.randn(2, 1, 32, 17))
    assert [tuple(head.logits.shape[2:]) for head in heads] == [
        (32, 17),
        (16, 9),
        (8, 5),
        (4, 3),
        (2, 2),
    ]
    assert sum(head.weight for head in heads) == pytest.approx(1)
    assert isinstance(module.eval()(torch.randn(1, 1, 32, 17)), torch.Tensor)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_heads_that_monais_dynunet_stacks_are_heads_of_their_own(dims: Dims) -> None:
    torch.manual_seed(0)
    arguments = {
        "kernel_size": (3, 3, 3, 3),
        "strides": (1, 2, 2, 2),
        "upsample_kernel_size": (2, 2, 2),
        "filters": (4, 6, 8, 8),
        "deep_supervision": True,
        "deep_supr_num": 2,
    }
    module = Monai(spatial_dims=dims, network="DynUNet", arguments=arguments)(1, 3)
    space = (9, 16, 11)[:dims]
    image = torch.randn(2, 1, *space)
    heads = module.train()(image)
    assert [tuple(head.logits.shape) for head in heads] == [(2, 3, *space)] * 3
    assert [head.weight for head in heads] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    sum(head.logits.square().mean() for head in heads).backward()
    assert all(p.grad is not None for p in module.parameters())
    with torch.no_grad():
        # Its normalisations see no more than the image, so both modes give the same.
        assert torch.allclose(module.eval()(image), heads[0].logits, atol=1e-6)


def test_swin_unetr_can_be_built_where_nothing_can_be_read() -> None:
    with torch.device("meta"):
        module = MODELS["swin_unetr"](width=12)(1, 2)
    assert all(parameter.is_meta for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("segresnet", {"width": 12}, "width is a multiple of 8"),
        ("segresnet", {"blocks_down": (1,), "blocks_up": ()}, "blocks_down has two levels"),
        ("segresnet", {"blocks_up": (1, 1)}, "blocks_up has 3 entries"),
        ("segresnet", {"dropout": 1.0}, "dropout lies in"),
        ("swin_unetr", {"width": 16}, "width is a multiple of 12"),
        ("swin_unetr", {"depths": (1, 1, 1, 0)}, "depths has entries above 0"),
        ("swin_unetr", {"attention_heads": (3, 6, 12, 25)}, "attention_heads share"),
        ("swin_unetr", {"window": 0}, "window is at least 1"),
        ("swin_unetr", {"drop_path": 1.0}, "drop_path lies in"),
        ("unetr", {"image_size": (32, 32)}, "image_size is a number above 0 or 3 of them"),
        ("unetr", {"attention_heads": 5}, "attention_heads share the hidden width"),
        ("unetr", {"hidden_width": 0}, "hidden_width is at least 1"),
        ("unetr", {"width": 0}, "width is at least 1"),
        ("unetr", {"dropout": -1.0}, "dropout lies in"),
        ("attention_unet", {"widths": (8,)}, "widths needs two levels"),
        ("attention_unet", {"strides": (2, 2)}, "strides has one entry between two levels: 4"),
        ("attention_unet", {"widths": (4, 8), "strides": (0,)}, "strides are a number above 0"),
        ("attention_unet", {"dropout": 1.0}, "dropout lies in"),
        ("mednext", {"width": 0}, "width is at least 1"),
    ],
)
def test_impossible_options_are_told_by_name(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MODELS[name](**options)
