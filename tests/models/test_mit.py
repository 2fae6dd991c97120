"""MiT and SegFormer: laws of the attention, of the grid, and the shapes of the stages."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, scaled_dot_product_attention

from medseg.models.encoders.mit import EfficientAttention, MiT, MiTForm, MixFFN
from medseg.models.segformer import SegFormer


def form(strides: list[tuple[int, ...]], **options: Any) -> MiTForm:
    dims = len(strides[0])
    return MiTForm(
        widths=(4, 8),
        depths=(2, 1),
        heads=(1, 2),
        strides=strides,
        reductions=options.pop("reductions", [(2,) * dims, (1,) * dims]),
        **options,
    )


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    """No weight left at zero or one, so that every part of the module shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def by_heads(tokens: Tensor, heads: int) -> Tensor:
    batch, count, width = tokens.shape
    return tokens.view(batch, count, heads, width // heads).permute(0, 2, 1, 3)


def test_attention_without_reduction_is_torchs_own() -> None:
    torch.manual_seed(0)
    module, tokens = stirred(EfficientAttention(2, 8, 2, (1, 1))), torch.randn(2, 3, 5, 8)
    flat = tokens.reshape(2, 15, 8)
    query, key, value = (
        by_heads(part(flat), 2) for part in (module.query, module.key, module.value)
    )
    mixed = scaled_dot_product_attention(query, key, value).permute(0, 2, 1, 3).reshape(2, 15, 8)
    with torch.no_grad():
        assert torch.allclose(module(tokens), module.out(mixed).view(2, 3, 5, 8), atol=1e-6)


def test_reduced_attention_asks_the_means_that_its_convolution_makes() -> None:
    """Against softmax and the strided convolution written out."""
    torch.manual_seed(0)
    module, tokens = stirred(EfficientAttention(2, 8, 2, (2, 3))), torch.randn(1, 4, 6, 8)
    with torch.no_grad():
        reduce = module.reduce
        coarse = conv2d(tokens.movedim(-1, 1), reduce.conv.weight, reduce.conv.bias, stride=(2, 3))
        few = layer_norm(coarse.flatten(2).mT, [8], reduce.norm.weight, reduce.norm.bias)
        assert few.shape == (1, 4, 8)
        flat = tokens.reshape(1, 24, 8)
        query, key, value = (
            by_heads(part, 2) for part in (module.query(flat), module.key(few), module.value(few))
        )
        mixed = (query @ key.mT / 2).softmax(-1) @ value
        wanted = module.out(mixed.permute(0, 2, 1, 3).reshape(1, 24, 8)).view(1, 4, 6, 8)
        assert torch.allclose(module(tokens), wanted, atol=1e-6)


def test_a_mix_ffn_is_two_linear_layers_around_a_depthwise_convolution() -> None:
    torch.manual_seed(0)
    module, tokens = stirred(MixFFN(2, 3, 6, "none")), torch.randn(2, 4, 5, 3)
    depthwise = module.depthwise.conv
    with torch.no_grad():
        hidden = linear(tokens, module.expand.weight, module.expand.bias).permute(0, 3, 1, 2)
        hidden = conv2d(hidden, depthwise.weight, depthwise.bias, padding=1, groups=6)
        wanted = linear(
            gelu(hidden.permute(0, 2, 3, 1)), module.project.weight, module.project.bias
        )
        assert torch.allclose(module(tokens), wanted, atol=1e-6)


def turned(state: dict[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    axes = [0, 1, *(2 + axis for axis in order)]
    return {k: v.permute(axes) if v.ndim == len(axes) else v for k, v in state.items()}


@pytest.mark.parametrize(
    ("strides", "space", "order"),
    [
        ([(2, 2), (2, 2)], (8, 20), [1, 0]),
        ([(4, 1), (2, 2)], (16, 12), [1, 0]),
        ([(2, 4, 1), (1, 2, 2)], (8, 16, 4), [2, 0, 1]),
    ],
)
def test_turning_the_image_and_the_weights_turns_the_features(
    strides: list[tuple[int, ...]], space: tuple[int, ...], order: list[int]
) -> None:
    torch.manual_seed(0)
    dims = len(space)
    one = stirred(MiT(dims, 2, form(strides)))
    other = MiT(dims, 2, form([tuple(s[axis] for axis in order) for s in strides])).eval()
    other.load_state_dict(turned(one.state_dict(), order))
    image, axes = torch.randn(1, 2, *space), [0, 1, *(2 + axis for axis in order)]
    with torch.no_grad():
        for feature, again in zip(one(image), other(image.permute(axes)), strict=True):
            assert torch.allclose(feature.permute(axes), again, atol=1e-5)


def test_stages_have_the_papers_strides_and_widths() -> None:
    encoder = SegFormer(spatial_dims=2)(3, 5).encoder
    assert encoder.channels == (32, 64, 160, 256)
    assert encoder.strides == ((4, 4), (8, 8), (16, 16), (32, 32))
    assert encoder.multiples == (32, 32)
    features = encoder.eval()(torch.zeros(1, 3, 32, 64))
    assert [tuple(f.shape[1:]) for f in features] == [
        (32, 8, 16),
        (64, 4, 8),
        (160, 2, 4),
        (256, 1, 2),
    ]
    kernels = [tuple(stage.embed.conv.kernel_size) for stage in encoder.stages]
    assert kernels == [(7, 7), (3, 3), (3, 3), (3, 3)]


def test_an_axis_of_stride_one_keeps_its_slices_and_does_not_mix_them() -> None:
    options = SegFormer(
        spatial_dims=3,
        widths=(4, 8),
        depths=(1, 1),
        heads=(1, 2),
        strides=((1, 4, 4), (1, 2, 2)),
        reductions=((1, 2, 2), 1),
    )
    encoder = options(1, 2).encoder
    assert encoder.stages[0].embed.conv.kernel_size == (1, 7, 7)
    assert encoder.strides == ((1, 4, 4), (1, 8, 8))
    assert encoder.multiples == (1, 8, 8)
    assert [tuple(f.shape[2:]) for f in encoder(torch.zeros(1, 1, 3, 16, 8))] == [
        (3, 4, 2),
        (3, 2, 1),
    ]


def test_branches_are_left_out_the_more_the_deeper() -> None:
    encoder = MiT(2, 1, form([(2, 2), (2, 2)], drop_path=0.3))
    shares = [block.drop.share for stage in encoder.stages for block in stage.blocks]
    assert shares == pytest.approx([0, 0.15, 0.3])


def test_first_weights_are_drawn_as_in_the_papers_code() -> None:
    torch.manual_seed(0)
    encoder = SegFormer(spatial_dims=2)(3, 2).encoder
    last = encoder.stages[3]
    assert last.blocks[0].ffn.expand.weight.std().item() == pytest.approx(0.02, rel=0.15)
    wanted = (2 / (9 * 256)) ** 0.5
    assert last.embed.conv.weight.std().item() == pytest.approx(wanted, rel=0.02)
    depthwise = last.blocks[0].ffn.depthwise.conv
    assert depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert not depthwise.bias.any()


@pytest.mark.parametrize(("size", "width"), [("b0", 256), ("b1", 256), ("b2", 768), ("b5", 768)])
def test_the_head_is_wider_from_b2_on_in_2d_only(size: Any, width: int) -> None:
    assert SegFormer(spatial_dims=2, size=size).parts.head_width == width
    assert SegFormer(spatial_dims=3, size=size).parts.head_width == 256


@pytest.mark.parametrize(("dims", "normed"), [(2, False), (3, True)])
def test_the_form_in_3d_is_segformer3ds(dims: Literal[2, 3], normed: bool) -> None:
    parts = SegFormer(spatial_dims=dims).parts
    assert parts.normed is normed
    assert parts.reductions == ((4, 2, 1, 1) if dims == 3 else (8, 4, 2, 1))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (4, 8)}, "depths has one entry above 0 a stage, 2 as widths"),
        ({"depths": (1, 1, 1, 0)}, "depths has one entry above 0"),
        ({"heads": (1, 2, 5)}, "heads has one entry above 0 a stage, 4"),
        ({"heads": (3, 2, 5, 8)}, "heads share a width evenly; 32 is no multiple of 3"),
        ({"strides": (4, 2, 2)}, "strides has one entry a stage, 4, not 3"),
        ({"strides": (4, 2, 2, (2, 2))}, "strides are a number above 0 or 3 of them"),
        ({"reductions": (1, 1, 1, 0)}, "reductions are a number above 0"),
        ({"expansions": (4, 4, 4)}, "expansions has one entry above 0 a stage, 4"),
        ({"expansions": (4, 4, 4, 0)}, "expansions has one entry above 0 a stage, 4"),
        ({"head_width": -1}, "head_width is at least 1"),
        ({"dropout": 1.0}, "dropout lies in"),
        ({"drop_path": -0.1}, "drop_path lies in"),
    ],
)
def test_impossible_options_are_told_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        SegFormer(**options)
