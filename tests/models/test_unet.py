"""The U-Net in its forms, against the papers' sizes and against computations written out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.models import DynUNet
from medseg.models.encoders.unet import ConvStyle, ResidualBlock, UNetEncoder, UNetForm
from medseg.models.modules.borders import Loss, mirrored
from medseg.models.modules.up_stage import central
from medseg.models.nets.unet import UNetNet
from medseg.models.unet import UNet

Form = Literal["classic", "padded", "plain", "residual"]
Dims = Literal[2, 3]
FORMS: list[Form] = ["classic", "padded", "plain", "residual"]


def built(form: Form, dims: Dims, channels: int = 1, **options: Any) -> UNetNet:
    torch.manual_seed(0)
    options = {"widths": (4, 6, 8), **options}
    module = UNet(form=form, spatial_dims=dims, **options)(channels, 3)
    assert isinstance(module, UNetNet)
    return module


def losses(**options: Any) -> list[Loss]:
    with torch.device("meta"):
        module = UNet(form="classic", **options)(1, 2)
    assert isinstance(module, UNetNet)
    assert module.losses is not None
    return module.losses


def test_without_borders_572_pixels_give_388() -> None:
    loss = losses(spatial_dims=2)[0]
    assert loss.sides(loss.lowest(388)) == (572, 388)


def test_without_borders_132_132_116_voxels_give_44_44_28() -> None:
    sides = [
        loss.sides(loss.lowest(side))
        for loss, side in zip(losses(spatial_dims=3), (44, 44, 28), strict=True)
    ]
    assert sides == [(132, 44), (132, 44), (116, 28)]


@pytest.mark.parametrize("side", range(1, 60))
@pytest.mark.parametrize(("strides", "kernels"), [(None, None), ((2, 3, 1), (3, 1, 5, 3))])
def test_what_a_form_without_borders_loses_is_the_same_on_either_side(
    side: int, strides: Any, kernels: Any
) -> None:
    for loss in losses(spatial_dims=2, widths=(2, 2, 2, 2), strides=strides, kernels=kernels):
        image, result = loss.sides(loss.lowest(side))
        assert result >= side
        assert (image - result) % 2 == 0
        assert loss.sides(loss.lowest(side) - 1)[1] < side


@pytest.mark.parametrize(("before", "after"), [(0, 0), (3, 2), (4, 9), (23, 40)])
@pytest.mark.parametrize("side", [1, 2, 5, 8])
def test_mirrored_borders_are_numpys(side: int, before: int, after: int) -> None:
    image = torch.randn(2, 1, 3, side)
    wanted = np.pad(image.numpy(), [(0, 0), (0, 0), (0, 0), (before, after)], mode="reflect")
    found = mirrored(image, 3, before, before + side + after)
    assert np.array_equal(found.numpy(), wanted)


def by_hand(module: UNetNet, image: Tensor) -> Tensor:
    """Two levels of convolutions without borders, with nothing but functions."""
    state = module.state_dict()

    def twice(features: Tensor, stage: str) -> Tensor:
        for place in (0, 1):
            weight, bias = (state[f"{stage}.{place}.conv.{part}"] for part in ("weight", "bias"))
            features = functional.conv2d(features, weight, bias).clamp(min=0)
        return features

    fine = twice(image, "encoder.stages.0")
    coarse = twice(functional.max_pool2d(fine, 2), "encoder.stages.1")
    weight, bias = state["ups.0.up.weight"], state["ups.0.up.bias"]
    raised = functional.conv_transpose2d(coarse, weight, bias, stride=2)
    skip = fine[:, :, 4:-4, 4:-4]
    merged = twice(torch.cat([skip, raised], dim=1), "ups.0.convs")
    return functional.conv2d(merged, state["head.weight"], state["head.bias"])


def test_the_classic_form_is_convolutions_without_borders_in_its_centre() -> None:
    module, image = built("classic", 2, 2, widths=(4, 8)).eval(), torch.randn(1, 2, 36, 28)
    with torch.no_grad():
        wanted = by_hand(module, image)
        assert wanted.shape[2:] == (20, 12)
        assert torch.allclose(module(image)[:, :, 8:-8, 8:-8], wanted, atol=1e-5)


def test_the_classic_form_is_convolutions_of_the_mirrored_image_to_its_rim() -> None:
    module, image = built("classic", 2, 2, widths=(4, 8)).eval(), torch.randn(1, 2, 36, 28)
    with torch.no_grad():
        wanted = by_hand(module, functional.pad(image, (8, 8, 8, 8), mode="reflect"))
        assert torch.allclose(module(image), wanted, atol=1e-5)


def test_the_classic_form_treats_both_ends_of_an_image_alike() -> None:
    """Mirrored weights on the mirrored image give the mirrored logits."""
    module, image = built("classic", 2, widths=(4, 8)).eval(), torch.randn(1, 1, 20, 24)
    with torch.no_grad():
        said = module(image)
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.copy_(parameter.flip(2))
        assert torch.allclose(module(image.flip(2)), said.flip(2), atol=1e-5)


def test_the_3d_classic_form_doubles_before_it_pools() -> None:
    with torch.device("meta"):
        module = UNet(form="classic")(1, 3)
    widths = [
        tuple(tensor.shape[1::-1])
        for key, tensor in module.state_dict().items()
        if key.endswith("conv.weight")
    ]
    down = [(1, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    up = [(768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64)]
    assert widths == down + up


@pytest.mark.parametrize("form", ["padded", "plain", "residual"])
@pytest.mark.parametrize("dims", [2, 3])
def test_an_odd_size_is_the_padded_one_cropped(form: Form, dims: Dims) -> None:
    module, space = built(form, dims).eval(), (13, 9, 6)[:dims]
    image = torch.randn(1, 1, *space)
    missing = [amount for side in reversed(space) for amount in (0, -side % 4)]
    with torch.no_grad():
        whole = module(functional.pad(image, missing))
        assert torch.equal(module(image), whole[(..., *(slice(0, side) for side in space))])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_every_form_takes_any_size(form: Form, dims: Dims, norm: str) -> None:
    flat = (1, 2, 2)[-dims:]
    module = built(form, dims, norm=norm, strides=(flat, 2), kernels=((1, 3, 3)[-dims:], 3, 3))
    for space in ((1, 1, 1), (2, 1, 4), (5, 12, 7)):
        image = torch.randn(1, 1, *space[:dims])
        with torch.no_grad():
            assert module.train()(image).shape == (1, 3, *space[:dims])
            said = module.eval()(image)
        assert said.shape == (1, 3, *space[:dims])
        assert said.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_reach_every_parameter_of_every_form(
    form: Form, upsampling: str, dims: Dims
) -> None:
    supervised = 0 if form == "classic" else 1
    module = built(form, dims, upsampling=upsampling, deep_supervision=supervised).train()
    said = module(torch.randn(2, 1, *(9, 8, 5)[:dims]))
    heads = [said] if isinstance(said, Tensor) else [head.logits for head in said]
    assert len(heads) == 1 + supervised
    torch.stack([head.square().mean() for head in heads]).sum().backward()
    dead = [key for key, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_exported(form: Form) -> None:
    module, image = built(form, 2).eval(), torch.randn(1, 1, 7, 10)
    with torch.no_grad():
        program = torch.export.export(module, (image,))
        assert torch.allclose(program.module()(image), module(image), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_plain_form_is_dynunet(dims: Dims) -> None:
    """But for kernels that differ by level: on the way up MONAI takes the lower level's."""
    options: dict[str, Any] = {
        "spatial_dims": dims,
        "widths": (4, 6, 8),
        "strides": ((1, 2, 2)[-dims:], 2),
        "kernels": ((1, 3, 3)[-dims:],) * 3,
    }
    torch.manual_seed(0)
    theirs = DynUNet(**options)(2, 3).eval()
    mine = UNet(form="plain", **options)(2, 3).eval()
    state = mine.state_dict()
    places = {"input_block": "encoder.stages.0", "bottleneck": "encoder.stages.2"}
    places |= {"downsamples.0": "encoder.stages.1", "output_block.conv.conv": "head"}
    for step in (0, 1):
        places[f"upsamples.{step}.conv_block"] = f"ups.{step}.convs"
        places[f"upsamples.{step}.transp_conv.conv"] = f"ups.{step}.up"
    for key, tensor in theirs.state_dict().items():
        own = next(key.replace(a, b, 1) for a, b in places.items() if key.startswith(a))
        for number in ("1", "2"):
            own = own.replace(f".conv{number}.conv.", f".{int(number) - 1}.conv.")
            own = own.replace(f".norm{number}.", f".{int(number) - 1}.norm.")
        if ".convs.0.conv." in own:
            halves = tensor.chunk(2, dim=1)
            state[own] = torch.cat(halves[::-1], dim=1)  # They put the skip last.
        else:
            state[own] = tensor
    mine.load_state_dict(state)
    image = torch.randn(1, 2, *(9, 12, 8)[:dims])
    with torch.no_grad():
        assert torch.allclose(mine(image), theirs(image), atol=1e-5)


def test_a_residual_block_is_two_convolutions_beside_a_mean_and_a_projection() -> None:
    torch.manual_seed(0)
    style = ConvStyle("none", "leaky_relu")
    block = ResidualBlock(2, 3, 5, (3, 1), style, (2, 1))
    state, image = block.state_dict(), torch.randn(2, 3, 6, 5)
    hidden = functional.conv2d(image, state["conv1.conv.weight"], stride=(2, 1), padding=(1, 0))
    hidden = functional.leaky_relu(hidden, 0.01)
    hidden = functional.conv2d(hidden, state["conv2.conv.weight"], padding=(1, 0))
    means = (image[:, :, ::2] + image[:, :, 1::2]) / 2
    skip = functional.conv2d(means, state["project.conv.weight"])
    wanted = functional.leaky_relu(hidden + skip, 0.01)
    assert torch.allclose(block(image), wanted, atol=1e-6)


def test_nnunets_residual_blocks_are_1_3_4_6_6_and_6() -> None:
    with torch.device("meta"):
        module = UNet(form="residual")(1, 2)
    assert isinstance(module, UNetNet)
    assert [len(stage) for stage in module.encoder.stages] == [1, 3, 4, 6, 6, 6]
    assert [len(up.convs) for up in module.ups] == [1] * 5


def test_the_encoder_says_its_channels_and_strides() -> None:
    form = UNetForm((3, 5, 7), ((1, 1, 1), (1, 2, 2), (2, 2, 3)), ((3, 3, 3),) * 3, (1, 2, 1))
    encoder = UNetEncoder(3, 2, form)
    assert encoder.channels == (3, 5, 7)
    assert encoder.strides == ((1, 1, 1), (1, 2, 2), (2, 4, 6))
    shapes = [tuple(f.shape) for f in encoder(torch.randn(2, 2, 4, 8, 12))]
    assert shapes == [(2, 3, 4, 8, 12), (2, 5, 4, 4, 6), (2, 7, 2, 2, 2)]


def test_the_centre_of_a_larger_skip_is_taken() -> None:
    features = torch.arange(7.0).expand(1, 1, 3, 7)
    assert central(features, (3, 3)).tolist() == [[[[2.0, 3.0, 4.0]] * 3]]


def test_coarse_logits_lie_over_the_image_and_weigh_half_as_much() -> None:
    module = built("plain", 3, widths=(4, 6, 8, 8), deep_supervision=2).train()
    heads = module(torch.randn(1, 1, 9, 16, 3))
    assert not isinstance(heads, Tensor)
    assert [tuple(head.logits.shape[2:]) for head in heads] == [(9, 16, 3), (5, 8, 2), (3, 4, 1)]
    assert [head.weight for head in heads] == pytest.approx([4 / 7, 2 / 7, 1 / 7])


@pytest.mark.parametrize("form", FORMS)
def test_dropout_drops_while_training_and_only_then(form: Form) -> None:
    module, image = built(form, 2, dropout=0.5, norm="none"), torch.randn(1, 1, 16, 16)
    assert not torch.equal(module.train()(image), module(image))
    assert torch.equal(module.eval()(image), module(image))


def test_weights_of_the_classic_form_deviate_by_the_root_of_two_over_their_inputs() -> None:
    torch.manual_seed(0)
    state = UNet(form="classic", spatial_dims=2, widths=(32, 64))(1, 2).state_dict()
    assert state["encoder.stages.1.0.conv.weight"].std() == pytest.approx(
        (2 / (9 * 32)) ** 0.5, rel=0.03
    )
    assert state["ups.0.up.weight"].std() == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    assert not any(tensor.any() for key, tensor in state.items() if key.endswith("conv.bias"))


def test_what_is_left_out_is_as_the_form_has_it() -> None:
    norms = {
        (form, d): UNet(form=form, spatial_dims=d).parts.norm for form in FORMS for d in (2, 3)
    }
    assert norms == {
        ("classic", 2): "none",
        ("classic", 3): "batch",
        ("padded", 2): "batch",
        ("padded", 3): "instance",
        ("plain", 2): "instance",
        ("plain", 3): "instance",
        ("residual", 2): "instance",
        ("residual", 3): "instance",
    }
    assert UNet(form="plain").parts.widths == (32, 64, 128, 256, 320, 320)
    assert UNet(spatial_dims=2, upsampling="bilinear").parts.decoder_widths == (64, 64, 128, 256)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (8,)}, "widths needs two levels"),
        ({"widths": (8, 0)}, "widths needs two levels or more of at least 1"),
        ({"strides": (2,)}, "strides wants 4 entries, not 1"),
        ({"strides": (2, 2, 2, (2, 2))}, r"strides are a number above 0 or 3 of them, not \(2, 2"),
        ({"kernels": (3, 3)}, "kernels wants 5 entries, not 2"),
        ({"kernels": (3, 3, 2, 3, 3)}, "kernels are odd"),
        ({"blocks": (2, 2)}, "blocks wants 5 entries"),
        ({"decoder_blocks": (2, 2, 2, 0)}, "decoder_blocks wants 4 entries of at least 1"),
        ({"decoder_widths": (2,)}, "decoder_widths wants 4 entries"),
        ({"dropout": 1.0}, "dropout lies in"),
        ({"deep_supervision": 4}, "deep_supervision counts heads below the top, at most 3"),
        ({"form": "classic", "deep_supervision": 1}, "deep_supervision .* at most 0"),
        ({"form": "residual", "early_doubling": True}, "early_doubling is for convolutions"),
        ({"form": "classic", "widths": (1, 2)}, "widths are at least 2 with early_doubling"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        UNet(**options)
